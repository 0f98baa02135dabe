"""A sweep that runs in a minute."""

import pytest

from diffmvr_jax.ablation.spec import Claim, Sweep, Variant


@pytest.fixture(scope="module")
def sweep(tiny_config) -> Sweep:
  return Sweep(
    title="Tiny",
    base=tiny_config,
    variants=(
      Variant(name="both", paper={"psnr_mask": 12.5}),
      Variant(
        name="past",
        overrides=("model.unet.branches=['past']", "model.unet.alpha=[1.0]"),
        seeds=(1,),
      ),
    ),
    seeds=(0, 1),
    metrics=("psnr_mask", "ssim", "fvd"),
    claims=(
      Claim(
        text="two beat one", metric="psnr_mask", first="both", second="past"
      ),
    ),
  )
