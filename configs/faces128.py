r"""Faces at 128 px: the model that comes with the package.

  python -m data_prep fit-flow-prior portraits:PORTRAITS --out prior.safetensors
  python -m data_prep export portraits:PORTRAITS --paste sprites:HANDS \
    --clips-per-portrait 2 --seed 1 --occlusion-ratio 0.15-0.6 \
    --occlusion-seconds 0.25-1.5 --flow-prior prior.safetensors --size 128 \
    --validation-share 0.03 --test-share 0 --workers 2 --out data/faces128
  python -m diffmvr_jax.train --config configs/faces128.py \
    --workdir runs/faces128
  python -m diffmvr_jax.train --config configs/faces128.py \
    --workdir runs/faces128-final init_from=runs/faces128 seed=1 \
    fusion_stage.steps=1600 fusion_stage.optimizer.decay=cosine \
    fusion_stage.optimizer.warmup_steps=50
  python -m diffmvr_jax.convert pretrained runs/faces128-final \
    --out faces128.safetensors

The fusion network weighs, shifts and colours remembered frames, and paints what
nobody has seen. It is trained at one learning rate for as long as there is
time, and can be stopped and resumed; a second, short training lowers the
rate to zero, which takes the last noise out of the weights. Export draws about
30 frames per second on one CPU core, and an update takes about 0.5 seconds on
two; `XLA_FLAGS=--xla_force_host_platform_device_count=2` uses both cores.

`gain` in `fusion_validation.jsonl` is by how many decibels the averaged weights
are better than propagation, on people that they have not seen.

The model is its anchor alone: `diffusion_stage.steps` and `sampling.steps` are
0. Give both, and an anchored U-Net is trained on what the fused image lacks.
"""

from diffmvr_jax.config import (
  AutoencoderConfig,
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
      fusion=FusionConfig(),  # the records' flows are completed already
      decoding="reference",
      train_clip=True,
    ),
    diffusion=DiffusionConfig(prediction="sample", anchor="fused"),
    data=DataConfig(path="data/faces128", image_size=128, window=2),
    fusion_stage=FusionStageConfig(
      steps=60_000,
      batch_size=8,
      validate_every=500,
      validate_batches=16,
      optimizer=OptimizerConfig(
        learning_rate=4e-4,
        warmup_steps=200,
        b2=0.99,
        weight_decay=1e-4,
        ema_decay=0.998,
      ),
    ),
    diffusion_stage=DiffusionStageConfig(
      steps=0,
      batch_size=4,
      motion=MotionConfig(weight=0.1),
      mask_weight=10.0,
      optimizer=OptimizerConfig(
        learning_rate=1e-3, warmup_steps=50, decay="cosine", ema_decay=0.998
      ),
    ),
    checkpoint=CheckpointConfig(every=250),
    sampling=SamplingConfig(steps=0),
    log_every=25,
  )
