r"""Which guidance helps: the paper's Table 3, and two questions beyond it.

  python -m benchmarks.ablation_data my_faces/ --out data/ablation
  python -m diffmvr_jax.sweep --config configs/ablation_guidance.py \
    --workdir runs/ablation data.path=data/ablation/records

Every variant is the network of `drawn64.py`, and all train for the same number
of updates. With three seeds the sweep takes about an hour on two CPU cores.
The paper's rows are of iCOPEvid at 512 px, and stand beside ours for the order
of the variants.
"""

import dataclasses
from pathlib import Path

from diffmvr_jax.ablation.spec import Claim, Sweep, Variant
from diffmvr_jax.config import SamplingConfig, load_config


def get_sweep() -> Sweep:
  """Returns the sweep over kinds of guidance."""
  drawn64 = load_config(Path(__file__).with_name("drawn64.py"))
  base = dataclasses.replace(
    drawn64,
    name="ablation",
    data=dataclasses.replace(drawn64.data, path="data/ablation/records"),
    diffusion_stage=dataclasses.replace(drawn64.diffusion_stage, steps=400),
    sampling=SamplingConfig(steps=2),
  )
  return Sweep(
    title="Guidance",
    base=base,
    variants=(
      Variant(name="dual", paper=_printed(2.11, 0.91, 0.34, 47.88)),
      Variant(
        name="symmetric",
        overrides=_single("symmetric"),
        paper=_printed(2.57, 0.75, 0.42, 59.51),
      ),
      Variant(
        name="past",
        overrides=_single("past"),
        paper=_printed(2.36, 0.77, 0.38, 60.80),
      ),
      Variant(
        name="present",
        overrides=_single("present"),
        paper=_printed(2.95, 0.72, 0.45, 72.79),
      ),
      Variant(name="dual-clip", overrides=("model.guidance.encoder=clip",)),
      Variant(name="dual-latent", overrides=("model.guidance.encoder=latent",)),
    ),
    splits={
      "test": "held-out people",
      "validation": "held-out time of known people",
    },
    claims=(
      *(
        Claim(
          text=f"dual guidance beats {other} alone",
          metric=metric,
          first="dual",
          second=other,
        )
        for other in ("symmetric", "past")
        for metric in ("psnr_mask", "ssim_mask")
      ),
      *(
        Claim(
          text=f"the present frame is worse guidance than {other}",
          metric="psnr_mask",
          first=other,
          second="present",
        )
        for other in ("dual", "symmetric", "past")
      ),
      Claim(
        text="latent tokens beat CLIP's",
        metric="psnr_mask",
        first="dual-latent",
        second="dual-clip",
      ),
      Claim(
        text="both kinds of tokens beat CLIP's alone",
        metric="psnr_mask",
        first="dual",
        second="dual-clip",
      ),
    ),
  )


def _single(branch: str) -> tuple[str, ...]:
  return (
    f"model.unet.branches=['{branch}']",
    "model.unet.alpha=[1.0]",
  )


def _printed(
  fid: float, ssim: float, tc: float, fvd: float
) -> dict[str, float]:
  """A row of the paper's Table 3."""
  return {"fid_paper": fid, "ssim_paper": ssim, "tc_paper": tc, "fvd": fvd}
