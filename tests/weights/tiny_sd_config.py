"""The networks of the tiny Stable Diffusion; for tests only."""

from diffmvr_jax.config import (
  AutoencoderConfig,
  ClipVisionConfig,
  Config,
  DataConfig,
  GuidanceConfig,
  ModelConfig,
  UNetConfig,
)


def get_config() -> Config:
  """Twin branches, nine channels."""
  return Config(
    name="tiny_sd",
    model=ModelConfig(
      unet=UNetConfig(
        block_channels=(8, 16),
        attention=(True, False),
        heads=(2, 2),
        layers_per_block=1,
        context_dim=24,
        norm_groups=4,
        alpha=(0.3, 0.7),
      ),
      autoencoder=AutoencoderConfig(
        block_channels=(4, 8), layers_per_block=1, norm_groups=2
      ),
      clip=ClipVisionConfig(
        image_size=32,
        patch_size=16,
        width=20,
        layers=2,
        heads=2,
        mlp_dim=16,
        projection_dim=12,
      ),
      guidance=GuidanceConfig(hidden_dim=20),
    ),
    data=DataConfig(image_size=32, window=2),
  )
