r"""Faces at 128 px, from what was seen before: small enough for two CPU cores.

  python -m data_prep export VIDEOS… --out data/faces128 --size 128
  python -m diffmvr_jax.train --config configs/faces128.py \
    --workdir runs/faces128 data.path=data/faces128

Three stages, which each end in a checkpoint and resume: an autoencoder that
halves the side twice; the fusion network, which weighs, shifts and colours
remembered frames; and an anchored diffusion model, which adds in one step what
the fused image lacks. `sampling.steps=0` restores the fused image alone.

`gain` in `runs/faces128/fusion.jsonl` is by how much the fusion is better than
propagation, which needs no training, on the frames that it trains on. For
people that it does not see, export with `--validation-share 0.1`, train with
`fusion_stage.validate_batches=16 fusion_stage.validate_every=500`, and read
`fusion_validation.jsonl`.

What this recipe reaches has not been measured yet; the steps are a start.
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
    name="faces128",
    model=ModelConfig(
      unet=UNetConfig(
        # Residual 4, mask 1, masked frame 4, and three times latents and
        # validity of aligned guidance.
        in_channels=24,
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
      guidance=GuidanceConfig(
        encoder="both",
        hidden_dim=128,
        latent_patch=2,
        concat=("propagated", "symmetric", "past"),
      ),
      fusion=FusionConfig(flow_components=48),
      decoding="reference",
      train_clip=True,
    ),
    diffusion=DiffusionConfig(prediction="sample", anchor="fused"),
    data=DataConfig(path="data/faces128", image_size=128, window=2),
    autoencoder_stage=AutoencoderStageConfig(
      steps=500,
      batch_size=8,
      optimizer=OptimizerConfig(
        learning_rate=2e-3, warmup_steps=20, decay="cosine", ema_decay=0.99
      ),
    ),
    fusion_stage=FusionStageConfig(
      steps=4000,
      batch_size=8,
      optimizer=OptimizerConfig(
        learning_rate=5e-4, warmup_steps=100, decay="cosine", ema_decay=0.998
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
    sampling=SamplingConfig(steps=1),
    log_every=20,
  )
