"""What an experiment is: its settings, their rules, overrides, and files.

Others import from here; the modules of this package are its own affair.
"""

from diffmvr_jax.config.load import (
  call,
  checked,
  completed,
  from_dict,
  load_config,
  to_json,
)
from diffmvr_jax.config.networks import (
  AutoencoderConfig,
  ClipTextConfig,
  ClipVisionConfig,
  FusionConfig,
  GuidanceConfig,
  ModelConfig,
  OccluderConfig,
  PainterConfig,
  UNetConfig,
)
from diffmvr_jax.config.overrides import override
from diffmvr_jax.config.rules import check
from diffmvr_jax.config.schema import (
  AutoencoderStageConfig,
  CheckpointConfig,
  Config,
  ConsistencyConfig,
  DataConfig,
  DiffusionConfig,
  DiffusionStageConfig,
  FusionStageConfig,
  MeshConfig,
  MotionConfig,
  OccluderStageConfig,
  OptimizerConfig,
  PainterStageConfig,
  PriorConfig,
  SamplingConfig,
  ValidationConfig,
)
from diffmvr_jax.config.stages import (
  clip_tower,
  clip_towers,
  has_denoiser,
  is_guided,
  needed_arrays,
  trained_networks,
)

__all__ = [
  "AutoencoderConfig",
  "AutoencoderStageConfig",
  "CheckpointConfig",
  "ClipTextConfig",
  "ClipVisionConfig",
  "Config",
  "ConsistencyConfig",
  "DataConfig",
  "DiffusionConfig",
  "DiffusionStageConfig",
  "FusionConfig",
  "FusionStageConfig",
  "GuidanceConfig",
  "MeshConfig",
  "ModelConfig",
  "MotionConfig",
  "OccluderConfig",
  "OccluderStageConfig",
  "OptimizerConfig",
  "PainterConfig",
  "PainterStageConfig",
  "PriorConfig",
  "SamplingConfig",
  "UNetConfig",
  "ValidationConfig",
  "call",
  "check",
  "checked",
  "clip_tower",
  "clip_towers",
  "completed",
  "from_dict",
  "has_denoiser",
  "is_guided",
  "load_config",
  "needed_arrays",
  "override",
  "to_json",
  "trained_networks",
]
