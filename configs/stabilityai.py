r"""Stabilityai, a text-guided baseline: Stable Diffusion 2's inpainting model.

  python -m diffmvr_jax.convert import SD2_INPAINTING \
    --config configs/stabilityai.py --prompt "remove hands." \
    --out runs/stabilityai
  python -m diffmvr_jax.evaluate --model Stabilityai=runs/stabilityai \
    --data RECORDS --out DIR

SD2_INPAINTING is the published pipeline's folder in diffusers' layout. Its text
tower is OpenCLIP-H, 1024 wide, of which the pipeline holds the 23 layers that
it uses; prediction type and β come from its `scheduler/`. Nothing is trained.
Nobody has run it with the published weights yet; with random ones it is
diffusers' pipeline.
"""

import dataclasses

from configs import runwayml
from diffmvr_jax.config import Config, ModelConfig, UNetConfig


def get_config() -> Config:
  """Returns the experiment."""
  return dataclasses.replace(
    runwayml.get_config(),
    name="stabilityai",
    model=ModelConfig(
      unet=UNetConfig(
        branches=("text",),
        alpha=(1.0,),
        heads=(5, 10, 20, 20),
        context_dim=1024,
      )
    ),
  )
