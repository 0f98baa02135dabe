r"""Real faces at 128 px with pasted hands, small enough for two CPU cores.

  python -m data_prep export VIDEOS… --out data/faces128 --size 128
  python -m diffmvr_jax.train --config configs/faces128.py \
    --workdir runs/faces128 data.path=data/faces128

This is the scale at which to try a change, and to see the whole path work on
your own footage; it is not the scale of the paper. Half an hour on two CPU
cores (float32, jax 0.10.2) gave 17.0 dB PSNR inside the mask on held-out
people, where doing nothing gives 16.1 and Telea's inpainting 19.8. Raise the
steps for anything but a first try. `docs/measurements.md` has the whole table,
and says under which conditions it was measured.
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
    name="faces128",
    model=ModelConfig(
      unet=UNetConfig(
        block_channels=(48, 96, 128),
        attention=(False, True, True),
        heads=(1, 2, 2),
        layers_per_block=1,
        context_dim=128,
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
      guidance=GuidanceConfig(encoder="both", hidden_dim=128, latent_patch=2),
      train_clip=True,
    ),
    diffusion=DiffusionConfig(prediction="v"),
    data=DataConfig(path="data/faces128", image_size=128, window=2),
    autoencoder_stage=AutoencoderStageConfig(
      steps=500,
      batch_size=8,
      optimizer=OptimizerConfig(
        learning_rate=2e-3, warmup_steps=20, decay="cosine", ema_decay=0.99
      ),
    ),
    diffusion_stage=DiffusionStageConfig(
      steps=600,
      batch_size=4,
      motion=MotionConfig(weight=0.1),
      mask_weight=10.0,
      optimizer=OptimizerConfig(
        learning_rate=1e-3, warmup_steps=50, decay="cosine", ema_decay=0.998
      ),
    ),
    checkpoint=CheckpointConfig(every=100),
    sampling=SamplingConfig(steps=4),
    log_every=20,
  )
