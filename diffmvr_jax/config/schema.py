"""Experiment configuration as frozen dataclasses.

The type of every number says its range too; `diffmvr_jax.config.rules` refuses
what lies outside.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from diffmvr_jax.command_line.bounds import (
  Bounds,
  Count,
  CountOrZero,
  NotNegative,
  PlainName,
  Positive,
  Seed,
  Share,
  ShareAboveZero,
  ShareBelowOne,
)
from diffmvr_jax.config.networks import Factor, ModelConfig, Pixels

Frames = Annotated[int, Bounds(1, 2**16)]  # that are in memory at once
Beta = Annotated[float, Bounds(0, 1, above_low=True, below_high=True)]
Timesteps = Annotated[int, Bounds(1, 2**20)]
MeshAxis = Annotated[int, Bounds(1, also=-1)]


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
  """Forward process; β0 and β1 are those of the paper's appendix D.

  With an anchor it runs on what the anchor's latents lack, see
  `diffmvr_jax.diffusion.anchor`; "none" is the paper's process. `variable` says
  which latents noise is added to in training: those of the truth, or, as the
  paper prints it, those of the masked frame.
  """

  steps: Timesteps = 1000
  beta_start: Beta = 0.0008
  beta_end: Beta = 0.0145
  prediction: Literal["epsilon", "v", "sample"] = "epsilon"
  noise_share: Share = 0.0
  anchor: Literal["none", "propagated", "fused"] = "none"
  variable: Literal["target", "masked"] = "target"


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
  """Motion-consistency loss, Eq. (4): λ, what it compares, and with what."""

  weight: NotNegative = 0.1
  warmup_steps: CountOrZero = 0  # λ rises linearly from 0 over so many updates
  on: Literal["noisy", "x0", "posterior"] = "x0"
  relative_to: Literal["zero", "target"] = "target"


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """Linear warm-up, then Adam; appendix D: lr 1e-5, 1000 warm-up steps.

  `adamw` without weight decay is Adam. `freeze` holds regular expressions;
  parameters whose whole path (`unet/down_blocks_0/…`) one of them matches stay
  as they are. `accumulate` splits each batch into so many parts that follow
  one another, which gives the same update with less memory.
  """

  kind: Literal["adamw", "adafactor"] = "adamw"
  freeze: tuple[str, ...] = ()
  accumulate: Count = 1
  learning_rate: NotNegative = 1e-5
  warmup_steps: CountOrZero = 1000
  decay: Literal["constant", "cosine"] = "constant"
  b1: ShareBelowOne = 0.9
  b2: ShareBelowOne = 0.999
  eps: Positive = 1e-8
  weight_decay: NotNegative = 0.0
  clip_norm: Positive = 1.0
  ema_decay: ShareBelowOne = 0.9999


@dataclass(frozen=True, kw_only=True)
class AutoencoderStageConfig:
  """First stage; 0 steps skips it (the autoencoder is imported)."""

  steps: CountOrZero = 0
  batch_size: Count = 32  # frames
  kl_weight: NotNegative = 1e-6
  optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class FusionStageConfig:
  """Second stage; 0 steps skips it.

  Every `validate_every` updates (0: only at the end) it is compared with
  propagation on `validate_batches` batches of the split `validation`.
  """

  steps: CountOrZero = 0
  batch_size: Count = 16  # frames
  gradient_weight: NotNegative = 0.5  # of the gradients' error, at every scale
  validate_every: CountOrZero = 0
  validate_batches: CountOrZero = 0  # 0: no validation
  optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class PainterStageConfig:
  """Trains the network that paints what nobody has seen; 0 steps skips it.

  Every `validate_every` updates (0: only at the end) it is compared with the
  symmetric image and with colours carried from the visible part, on
  `validate_batches` batches of the split `validation`.
  """

  steps: CountOrZero = 0
  batch_size: Count = 16  # frames
  gradient_weight: NotNegative = 0.5  # of the gradients' error, at every scale
  validate_every: CountOrZero = 0
  validate_batches: CountOrZero = 0  # 0: no validation
  optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class OccluderStageConfig:
  """Trains the network that tells what covers a face; 0 steps skips it.

  A share `blind` of the frames is shown without a free crop. Every
  `validate_every` updates (0: only at the end) its masks are compared with the
  true ones on `validate_batches` batches of the split `validation`.
  """

  steps: CountOrZero = 0
  batch_size: Count = 16  # frames
  blind: Share = 0.2
  validate_every: CountOrZero = 0
  validate_batches: CountOrZero = 0  # 0: no validation
  optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
  """Distillation, see `diffmvr_jax.training.consistency`.

  `grid` timesteps are distilled on, and sampled from; `huber` is c.
  """

  grid: Timesteps = 50
  huber: Positive = 1e-3


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
  """Prior preservation of DreamBooth (Ruiz et al. 2023), equation 2 there.

  A window of the records at `path`, which show the class and not the subject,
  joins each window of the subject; their loss, with the class prompt, is added
  with the weight λ.
  """

  path: str = "data"
  weight: NotNegative = 1.0


@dataclass(frozen=True, kw_only=True)
class DiffusionStageConfig:
  """Last stage: U-Net, f_mlp and, if asked, the CLIP and text towers.

  The objective "consistency" trains the U-Net alone, that of `init_from`.
  """

  objective: Literal["diffusion", "consistency"] = "diffusion"
  consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
  steps: CountOrZero = 100_000
  batch_size: Count = 8  # windows
  motion: MotionConfig = field(default_factory=MotionConfig)
  # Of masked latents in L_diff, against the others.
  mask_weight: NotNegative = 1.0
  # Min-SNR weighting of L_diff; 5 is usual.
  min_snr_gamma: Positive | None = None
  prior: PriorConfig | None = None
  optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
  """Which records, and how they are cut into windows.

  `encoded` is a folder of `diffmvr_jax.encode`: the diffusion stage then reads
  latents and CLIP tokens from there, and runs no frozen encoder. `in_memory`
  decodes all windows before the first update, for accelerators that are faster
  than decoding.
  """

  path: str = "data"
  encoded: str | None = None
  image_size: Pixels = 512
  window: Frames = 8
  stride: Frames = 1
  flip: bool = True
  threads: Annotated[int, Bounds(0, 1024)] = 2
  in_memory: bool = False


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
  """Devices along each mesh axis; -1 once means: all that remain."""

  data: MeshAxis = -1
  frame: MeshAxis = 1
  fsdp: MeshAxis = 1


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
  """How often, in updates, a checkpoint is written, and how many stay."""

  every: Count = 1000
  keep: Count = 2


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
  """Looking at the averaged parameters with held-out windows.

  Every `every` updates (0: never) of the diffusion stage, and at its end:
  the losses in `buckets` equal ranges of timesteps, over `batches` batches of
  the split `validation`, with noise that is the same each time; and a sheet
  of `restored` windows. The parameters of the least loss are kept in
  `WORKDIR/best`, a model like an imported one. SIGTERM to a single process
  interrupts it; the resumed run then begins with it.
  """

  every: CountOrZero = 0
  batches: Count = 4
  buckets: Count = 10
  restored: CountOrZero = 4


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
  """How a restoration is drawn.

  `guidance` holds the strength of each branch, in the order of
  `model.unet.branches`; 1, or (), is what the network learned, and each other
  value costs another run of it per step. `start` says what sampling begins
  with: noise, or the noised latents of the masked frame, as the paper has it.
  With `start_at` below 1, a window
  that follows on a restored one starts from its last frame, noised so far, and
  takes this share of the steps. With an anchor, 0 steps give the anchor alone;
  if `diffusion_stage.steps` is 0 too, the model is its anchor, without U-Net,
  autoencoder and CLIP. Faces in video are restored in crops that are `detail`
  times finer than the network's, with detail that was seen before, see
  `diffmvr_jax.inference.fine_filling`.
  """

  sampler: Literal["ddim", "ddpm", "dpmpp_2m", "lcm"] = "ddim"
  steps: CountOrZero = 50
  eta: Share | None = None  # None: the sampler's own
  noise_share: Share = 1.0  # 1: every frame of a clip starts from one noise
  window: Frames = 16  # frames that are restored at once
  guidance: tuple[Factor, ...] = ()
  start: Literal["noise", "masked"] = "noise"
  start_at: ShareAboveZero = 1.0
  grid: Timesteps = 50  # timesteps that "lcm" was distilled on
  region: Literal["crop", "mask"] = "crop"
  # None: 2 with an anchor, else 1.
  detail: Annotated[int, Bounds(1, 8)] | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
  """One experiment."""

  name: PlainName
  seed: Seed = 0
  init_from: str | None = None  # workdir whose networks training starts from
  model: ModelConfig = field(default_factory=ModelConfig)
  diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
  data: DataConfig = field(default_factory=DataConfig)
  autoencoder_stage: AutoencoderStageConfig = field(
    default_factory=AutoencoderStageConfig
  )
  fusion_stage: FusionStageConfig = field(default_factory=FusionStageConfig)
  painter_stage: PainterStageConfig = field(default_factory=PainterStageConfig)
  occluder_stage: OccluderStageConfig = field(
    default_factory=OccluderStageConfig
  )
  diffusion_stage: DiffusionStageConfig = field(
    default_factory=DiffusionStageConfig
  )
  mesh: MeshConfig = field(default_factory=MeshConfig)
  checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
  validation: ValidationConfig = field(default_factory=ValidationConfig)
  sampling: SamplingConfig = field(default_factory=SamplingConfig)
  log_every: Count = 50
