r"""The network that paints what nobody has seen, which comes with the package.

  python -m diffmvr_jax.train --config configs/painter.py \
    --workdir runs/painter data.path=data/faces128
  python -m diffmvr_jax.train --config configs/painter.py \
    --workdir runs/painter-final init_from=runs/painter seed=1 \
    painter_stage.steps=1500 painter_stage.optimizer.decay=cosine \
    painter_stage.optimizer.warmup_steps=50 data.path=data/faces128
  python -m diffmvr_jax.convert pretrained runs/faces128-final \
    --with runs/painter-final runs/occluder --out faces128.safetensors

It learns from the records of `configs/faces128.py` what faces look like, and
how the covered side follows from the other one. As there, a long training at
one learning rate is followed by a short one that lowers it to zero.

`gain` in `painter_validation.jsonl` is by how many decibels it is better than
colours that are carried from the visible part, on people that it has not seen.
"""

from diffmvr_jax.config import (
  CheckpointConfig,
  Config,
  DataConfig,
  DiffusionConfig,
  DiffusionStageConfig,
  ModelConfig,
  OptimizerConfig,
  PainterConfig,
  PainterStageConfig,
  SamplingConfig,
)


def get_config() -> Config:
  """Returns the experiment."""
  return Config(
    name="painter",
    model=ModelConfig(painter=PainterConfig()),
    # There is no other network: what was seen is propagated.
    diffusion=DiffusionConfig(prediction="sample", anchor="propagated"),
    diffusion_stage=DiffusionStageConfig(steps=0),
    sampling=SamplingConfig(steps=0),
    data=DataConfig(path="data/faces128", image_size=128),
    painter_stage=PainterStageConfig(
      steps=60_000,
      batch_size=16,
      validate_every=500,
      validate_batches=16,
      optimizer=OptimizerConfig(
        learning_rate=5e-4,
        warmup_steps=200,
        b2=0.99,
        weight_decay=1e-4,
        ema_decay=0.998,
      ),
    ),
    checkpoint=CheckpointConfig(every=250),
    log_every=25,
  )
