r"""Faces at 128 px by the latent U-Net, from what `faces128` restores on.

  python -m diffmvr_jax.train --config configs/faces128_unet.py \
    --workdir runs/faces128_unet

It reads the records of `faces128.py`. The networks that come with the package
fuse what was seen; the U-Net with twin cross-attention learns what the fused
image lacks, and restores in as many steps as `sampling.steps` says. It is made
for a GPU.
"""

import dataclasses
from pathlib import Path

from diffmvr_jax.config import (
  AutoencoderConfig,
  AutoencoderStageConfig,
  CheckpointConfig,
  Config,
  OptimizerConfig,
  SamplingConfig,
  UNetConfig,
  load_config,
)


def get_config() -> Config:
  """Returns the experiment."""
  faces128 = load_config(Path(__file__).with_name("faces128.py"))
  return dataclasses.replace(
    faces128,
    name="faces128_unet",
    init_from="pretrained:faces128",
    model=dataclasses.replace(
      faces128.model,
      unet=UNetConfig(
        # Residual 8, mask 1, masked frame 8, and three times latents and
        # validity of aligned guidance.
        in_channels=44,
        out_channels=8,
        block_channels=(64, 128, 192),
        attention=(False, True, True),
        heads=(1, 2, 3),
        layers_per_block=1,
        context_dim=128,
        norm_groups=16,
        query_position=True,
      ),
      autoencoder=AutoencoderConfig(
        block_channels=(16, 32, 64),
        latent_channels=8,
        layers_per_block=1,
        norm_groups=0,
        mid_attention=False,
        scaling_factor=None,
      ),
    ),
    autoencoder_stage=AutoencoderStageConfig(
      steps=1500,
      batch_size=32,
      optimizer=OptimizerConfig(
        learning_rate=2e-3, warmup_steps=50, decay="cosine", ema_decay=0.99
      ),
    ),
    fusion_stage=dataclasses.replace(faces128.fusion_stage, steps=0),
    diffusion_stage=dataclasses.replace(
      faces128.diffusion_stage,
      steps=3000,
      batch_size=16,
      optimizer=OptimizerConfig(
        learning_rate=5e-4, warmup_steps=100, decay="cosine", ema_decay=0.998
      ),
    ),
    checkpoint=CheckpointConfig(every=500),
    sampling=SamplingConfig(steps=1),
  )
