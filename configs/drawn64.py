"""The paper's form at 64 px: diffusion from noise, on drawn faces.

  python -m data_prep export procedural:0-95 --out data/drawn64 --size 64
  python -m diffmvr_jax.train --config configs/drawn64.py \
    --workdir runs/drawn64

From data to report it takes 5 to 11 minutes on two CPU cores (float32, jax
0.10.2), and reaches 23.0 dB PSNR inside the mask on held-out people. Doing
nothing gives 16.1 dB, Telea's inpainting 20.8, and copying the past frame
28.0. The ablations and the distillation start from this configuration.
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
    name="drawn64",
    model=ModelConfig(
      unet=UNetConfig(
        in_channels=9,
        out_channels=4,
        block_channels=(64, 96),
        attention=(True, True),
        heads=(1, 2),
        layers_per_block=1,
        context_dim=96,
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
        width=96,
        layers=2,
        heads=4,
        mlp_dim=192,
        projection_dim=96,
        output_layer=-1,  # it is trained too, so no layer is left out
      ),
      guidance=GuidanceConfig(encoder="both", hidden_dim=96, latent_patch=2),
      train_clip=True,
    ),
    diffusion=DiffusionConfig(prediction="v"),
    data=DataConfig(path="data/drawn64", image_size=64, window=2),
    autoencoder_stage=AutoencoderStageConfig(
      steps=350,
      batch_size=8,
      optimizer=OptimizerConfig(
        learning_rate=2e-3, warmup_steps=20, decay="cosine", ema_decay=0.99
      ),
    ),
    diffusion_stage=DiffusionStageConfig(
      steps=850,
      batch_size=4,
      motion=MotionConfig(weight=0.1),
      mask_weight=10.0,
      optimizer=OptimizerConfig(
        learning_rate=1e-3, warmup_steps=50, decay="cosine", ema_decay=0.995
      ),
    ),
    checkpoint=CheckpointConfig(every=100),
    sampling=SamplingConfig(steps=4),
    log_every=20,
  )
