r"""A model from nothing in minutes: drawn faces at 64 px, on two CPU cores.

  make demo-train

runs it from data to report. These commands do the same by hand:

  python -m data_prep export procedural:0-95 --out runs/demo_train/data \
    --size 64
  python -m diffmvr_jax.train --config configs/demo.py \
    --workdir runs/demo_train/train

Three stages follow one another: an autoencoder; the network of `faces128.py`,
which fuses remembered frames; and a diffusion model that is anchored at the
fused image, and adds in one step what that lacks.
"""

from diffmvr_jax.config import (
  AutoencoderConfig,
  AutoencoderStageConfig,
  CheckpointConfig,
  ClipVisionConfig,
  Config,
  DataConfig,
  DiffusionConfig,
  DiffusionStageConfig,
  FusionConfig,
  FusionStageConfig,
  GuidanceConfig,
  ModelConfig,
  MotionConfig,
  OptimizerConfig,
  SamplingConfig,
  UNetConfig,
)


def get_config() -> Config:
  """Returns the experiment."""
  return Config(
    name="demo",
    model=ModelConfig(
      unet=UNetConfig(
        # Residual 4, mask 1, masked frame 4, and three times latents and
        # validity of aligned guidance.
        in_channels=24,
        block_channels=(48, 64),
        attention=(True, True),
        heads=(1, 1),
        layers_per_block=1,
        context_dim=64,
        norm_groups=16,
        query_position=True,
      ),
      autoencoder=AutoencoderConfig(
        block_channels=(16, 32, 64),
        layers_per_block=1,
        norm_groups=0,
        mid_attention=False,
        scaling_factor=None,
      ),
      clip=ClipVisionConfig(
        image_size=64,
        patch_size=8,
        width=64,
        layers=2,
        heads=4,
        mlp_dim=128,
        projection_dim=64,
        output_layer=-1,  # it is trained too, so no layer is left out
      ),
      guidance=GuidanceConfig(
        encoder="both",
        hidden_dim=64,
        latent_patch=2,
        concat=("propagated", "symmetric", "past"),
      ),
      fusion=FusionConfig(),  # the records' flows are completed already
      decoding="reference",
      train_clip=True,
    ),
    diffusion=DiffusionConfig(prediction="sample", anchor="fused"),
    data=DataConfig(path="runs/demo_train/data", image_size=64, window=2),
    autoencoder_stage=AutoencoderStageConfig(
      steps=250,
      batch_size=8,
      optimizer=OptimizerConfig(
        learning_rate=2e-3, warmup_steps=20, decay="cosine", ema_decay=0.99
      ),
    ),
    fusion_stage=FusionStageConfig(
      steps=1000,
      batch_size=8,
      optimizer=OptimizerConfig(
        learning_rate=6e-4, warmup_steps=50, decay="cosine", ema_decay=0.99
      ),
    ),
    diffusion_stage=DiffusionStageConfig(
      steps=200,
      batch_size=4,
      motion=MotionConfig(weight=0.1),
      mask_weight=10.0,
      optimizer=OptimizerConfig(
        learning_rate=5e-4, warmup_steps=20, decay="cosine", ema_decay=0.98
      ),
    ),
    checkpoint=CheckpointConfig(every=100),
    sampling=SamplingConfig(steps=1),
    log_every=20,
  )
