"""The smallest model that has every part; for tests only."""

from diffmvr_jax.config import (
  AutoencoderConfig,
  AutoencoderStageConfig,
  CheckpointConfig,
  ClipVisionConfig,
  Config,
  DataConfig,
  DiffusionStageConfig,
  GuidanceConfig,
  ModelConfig,
  OptimizerConfig,
  SamplingConfig,
  UNetConfig,
)


def get_config() -> Config:
  """Returns the experiment."""
  optimizer = OptimizerConfig(learning_rate=1e-3, warmup_steps=2)
  return Config(
    name="tiny",
    model=ModelConfig(
      unet=UNetConfig(
        block_channels=(8, 16),
        attention=(True, False),
        heads=(2, 2),
        layers_per_block=1,
        context_dim=16,
        norm_groups=4,
      ),
      autoencoder=AutoencoderConfig(
        block_channels=(4, 8, 8),
        layers_per_block=1,
        norm_groups=2,
        scaling_factor=None,
      ),
      clip=ClipVisionConfig(
        image_size=32,
        patch_size=16,
        width=16,
        layers=1,
        heads=2,
        mlp_dim=16,
        projection_dim=16,
        output_layer=-1,  # trained along, so no layer is left out
      ),
      guidance=GuidanceConfig(encoder="both", hidden_dim=16),
      train_clip=True,
    ),
    data=DataConfig(image_size=32, window=3),
    autoencoder_stage=AutoencoderStageConfig(
      steps=4, batch_size=4, optimizer=optimizer
    ),
    diffusion_stage=DiffusionStageConfig(
      steps=6, batch_size=2, optimizer=optimizer
    ),
    checkpoint=CheckpointConfig(every=3, keep=3),
    sampling=SamplingConfig(steps=3, window=4),
    log_every=1,
  )
