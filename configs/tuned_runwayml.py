"""Tuned-runwayml: `runwayml.py` trained on frames, as the paper's baseline.

  python -m diffmvr_jax.train --config configs/tuned_runwayml.py \
    --workdir runs/tuned_runwayml init_from=runs/runwayml data.path=RECORDS
  python -m diffmvr_jax.evaluate --model Tuned-runwayml=runs/tuned_runwayml \
    --data RECORDS --out DIR

The paper trains on 1,575 frames for 200 epochs, and prints no more: batch and
learning rate are those of its appendix D. With 1,575 covered frames in the
split `train` and 8 in a batch these are 39,375 updates; give
`diffusion_stage.steps` for other numbers of frames. A tenth of the frames is
trained with the empty prompt, so that guidance stays possible. Nobody has run
this experiment at its size yet.
"""

import dataclasses

from configs import runwayml
from diffmvr_jax.config import Config, DiffusionStageConfig, MotionConfig

_FRAMES, _EPOCHS, _BATCH = 1575, 200, 8


def get_config() -> Config:
  """Returns the experiment."""
  return dataclasses.replace(
    runwayml.get_config(),
    name="tuned_runwayml",
    diffusion_stage=DiffusionStageConfig(
      steps=_FRAMES * _EPOCHS // _BATCH,
      batch_size=_BATCH,
      motion=MotionConfig(weight=0.0),  # frames are alone in their windows
    ),
  )
