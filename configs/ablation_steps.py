r"""What one network call costs in quality, beside 2, 10 and 50.

  python -m data_prep export portraits:PORTRAITS --paste sprites:HANDS \
    --aligned propagated --seed 2 --size 64 --test-share 0.1 --workers 2 \
    --out data/ablation_anchor
  python -m diffmvr_jax.sweep --config configs/ablation_steps.py \
    --workdir runs/ablation_steps seeds=0

`anchor` of `ablation_anchor.py` is trained for four times as long, which takes
half an hour on one CPU core, and then sampled with more steps.
`docs/results.md` has the table.
"""

import dataclasses
from pathlib import Path

from diffmvr_jax.ablation.spec import Claim, Sweep, Variant, load_sweep

_WORKDIR = "runs/ablation_steps"


def get_sweep() -> Sweep:
  """Returns the sweep over the numbers of steps."""
  anchors = load_sweep(Path(__file__).with_name("ablation_anchor.py"))
  (overrides,) = (
    variant.overrides
    for variant in anchors.variants
    if variant.name == "anchor"
  )
  base = dataclasses.replace(
    anchors.base,
    name="ablation_steps",
    diffusion_stage=dataclasses.replace(
      anchors.base.diffusion_stage, steps=1600
    ),
  )
  return Sweep(
    title="Steps",
    base=base,
    variants=(
      Variant(name="anchor", overrides=overrides),
      *(
        Variant(
          name=f"anchor, {steps} steps",
          checkpoint=f"{_WORKDIR}/anchor/seed{{seed}}",
          overrides=(f"sampling.steps={steps}",),
        )
        for steps in (2, 10, 50)
      ),
    ),
    claims=(
      Claim(
        text="one step is not worse than 50",
        metric="psnr_mask",
        first="anchor",
        second="anchor, 50 steps",
        relation="not worse",
      ),
    ),
  )
