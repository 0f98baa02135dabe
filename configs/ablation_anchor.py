r"""What aligned guidance and the anchor are worth, from the paper's form on.

  python -m data_prep export portraits:PORTRAITS --paste sprites:HANDS \
    --aligned propagated --seed 2 --size 64 --test-share 0.1 --workers 2 \
    --out data/ablation_anchor
  python -m diffmvr_jax.sweep --config configs/ablation_anchor.py \
    --workdir runs/ablation_anchor

`paper` is the network of `drawn64.py`. `concat` gives its input the latents of
the propagated, the symmetric and the past image. `anchor` starts from the
propagated image, and decodes only what changes; the variants below it leave out
one part each. All train for the same number of updates.
"""

import dataclasses
from pathlib import Path

from diffmvr_jax.ablation.spec import Claim, Sweep, Variant
from diffmvr_jax.config import SamplingConfig, load_config

_CONCAT = (
  "model.guidance.concat=['propagated','symmetric','past']",
  "model.unet.in_channels=24",
)
_ANCHOR = (
  "diffusion.anchor=propagated",
  "diffusion.prediction=sample",
  "model.decoding=reference",
  "sampling.steps=1",
)


def get_sweep() -> Sweep:
  """Returns the sweep over what the model starts from, and what it sees."""
  drawn64 = load_config(Path(__file__).with_name("drawn64.py"))
  base = dataclasses.replace(
    drawn64,
    name="ablation_anchor",
    data=dataclasses.replace(drawn64.data, path="data/ablation_anchor"),
    diffusion_stage=dataclasses.replace(drawn64.diffusion_stage, steps=400),
    sampling=SamplingConfig(steps=2),
  )
  return Sweep(
    title="Anchor",
    base=base,
    variants=(
      Variant(name="paper"),
      Variant(name="concat", overrides=_CONCAT),
      Variant(name="anchor", overrides=(*_CONCAT, *_ANCHOR)),
      Variant(
        name="anchor, no twin attention",
        overrides=(*_CONCAT, *_ANCHOR, *_single("present")),
      ),
      Variant(
        name="anchor, no symmetric",
        overrides=(*_without("symmetric"), *_ANCHOR, *_single("past")),
      ),
      Variant(
        name="anchor, no past",
        overrides=(*_without("past"), *_ANCHOR, *_single("symmetric")),
      ),
    ),
    claims=tuple(
      Claim(text=text, metric="psnr_mask", first=first, second=second)
      for text, first, second in (
        ("aligned latents beat the paper's form", "concat", "paper"),
        ("the anchor beats aligned latents alone", "anchor", "concat"),
        ("twin attention helps", "anchor", "anchor, no twin attention"),
        ("the symmetric image helps", "anchor", "anchor, no symmetric"),
        ("the past frame helps", "anchor", "anchor, no past"),
      )
    ),
  )


def _single(branch: str) -> tuple[str, ...]:
  return f"model.unet.branches=['{branch}']", "model.unet.alpha=[1.0]"


def _without(image: str) -> tuple[str, ...]:
  left = [x for x in ("propagated", "symmetric", "past") if x != image]
  return f"model.guidance.concat={left}", "model.unet.in_channels=19"
