"""Tuned-stabilityai: `stabilityai.py` with DreamBooth, as the paper's baseline.

  python -m diffmvr_jax.convert import SD2_INPAINTING \
    --config configs/tuned_stabilityai.py --prompt "remove hands." \
    --class-prompt "a photo of a face" --out runs/dreambooth_start
  python -m launch.class_pictures runs/dreambooth_start --count 200 \
    --out class_pictures
  python -m data_prep export stills:class_pictures --test-share 0 --out CLASS
  python -m diffmvr_jax.train --config configs/tuned_stabilityai.py \
    --workdir runs/tuned_stabilityai init_from=runs/dreambooth_start \
    data.path=INSTANCE diffusion_stage.prior.path=CLASS
  python -m diffmvr_jax.evaluate \
    --model Tuned-stabilityai=runs/tuned_stabilityai --data RECORDS --out DIR

INSTANCE are records of the ten still images that the paper trains on
(`data_prep export stills:DIR --test-share 0`), and CLASS those of pictures that
the untuned model paints if it is told the class prompt. They keep it from
forgetting what a face is; pictures of other people do as well. 10 images and 80
epochs, one image per update, are 800 updates. The paper prints no more;
learning rate and weight are those of DreamBooth's usual recipe. The text tower
is trained along; `model.train_text=False` leaves it as it is. Nobody has run
this experiment at its size yet.
"""

import dataclasses

from configs import stabilityai
from diffmvr_jax.config import (
  ClipTextConfig,
  Config,
  DiffusionStageConfig,
  MotionConfig,
  OptimizerConfig,
  PriorConfig,
)

_IMAGES, _EPOCHS = 10, 80


def get_config() -> Config:
  """Returns the experiment."""
  config = stabilityai.get_config()
  return dataclasses.replace(
    config,
    name="tuned_stabilityai",
    model=dataclasses.replace(
      config.model,
      text=ClipTextConfig(
        width=1024, layers=23, heads=16, mlp_dim=4096, activation="gelu"
      ),
      train_text=True,
    ),
    diffusion_stage=DiffusionStageConfig(
      steps=_IMAGES * _EPOCHS,
      batch_size=1,
      motion=MotionConfig(weight=0.0),
      prior=PriorConfig(path="data/class"),
      optimizer=OptimizerConfig(
        learning_rate=5e-6, warmup_steps=0, ema_decay=0.0
      ),
    ),
  )
