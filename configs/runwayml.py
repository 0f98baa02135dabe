r"""Runwayml, a text-guided baseline: Stable Diffusion 1.5's inpainting model.

  python -m diffmvr_jax.convert import SD15_INPAINTING \
    --config configs/runwayml.py --prompt "remove hands." --out runs/runwayml
  python -m diffmvr_jax.evaluate --model Runwayml=runs/runwayml \
    --data RECORDS --out DIR

SD15_INPAINTING is the published pipeline's folder in diffusers' layout, with
`tokenizer/`, `text_encoder/` and `scheduler/`. The prompt is the paper's.
Guidance of 7.5 and 50 steps are the pipeline's own defaults; the steps are
DDIM's, where the folder names PNDM. Nothing is trained. Nobody has run it with
the published weights yet; with random ones it is diffusers' pipeline.
"""

from diffmvr_jax.config import (
  Config,
  DataConfig,
  DiffusionConfig,
  ModelConfig,
  SamplingConfig,
  UNetConfig,
)


def get_config() -> Config:
  """Returns the experiment."""
  return Config(
    name="runwayml",
    model=ModelConfig(unet=UNetConfig(branches=("text",), alpha=(1.0,))),
    # An import takes these from the pipeline's `scheduler/`.
    diffusion=DiffusionConfig(beta_start=0.00085, beta_end=0.012),
    data=DataConfig(window=1),
    sampling=SamplingConfig(steps=50, guidance=(7.5,), noise_share=0.0),
  )
