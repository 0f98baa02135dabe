r"""What the motion loss does: the paper's Table 4, and its variants.

  python -m benchmarks.ablation_data my_faces/ --out data/ablation
  python -m diffmvr_jax.sweep --config configs/ablation_loss.py \
    --workdir runs/ablation data.path=data/ablation/records

If the workdir is that of `ablation_guidance.py`, the two sweeps share the
variants `dual` and `past`. A training of 400 updates takes four to seven
minutes on two CPU cores.
"""

import dataclasses
from pathlib import Path

from diffmvr_jax.ablation.spec import Claim, Sweep, Variant
from diffmvr_jax.config import SamplingConfig, load_config


def get_sweep() -> Sweep:
  """Returns the sweep over motion losses."""
  drawn64 = load_config(Path(__file__).with_name("drawn64.py"))
  base = dataclasses.replace(
    drawn64,
    name="ablation",
    data=dataclasses.replace(drawn64.data, path="data/ablation/records"),
    diffusion_stage=dataclasses.replace(drawn64.diffusion_stage, steps=400),
    sampling=SamplingConfig(steps=2),
  )
  motion = "diffusion_stage.motion"
  without = (f"{motion}.weight=0.0",)
  past = ("model.unet.branches=['past']", "model.unet.alpha=[1.0]")
  return Sweep(
    title="Loss",
    base=base,
    variants=(
      # As in `drawn64.py`: predicted clean latents, relative to true motion.
      Variant(name="dual", paper=_printed(2.11, 0.91, 0.34, 47.88)),
      Variant(
        name="no-motion",
        overrides=without,
        paper=_printed(2.28, 0.74, 0.37, 61.57),
      ),
      # The paper's baseline is the past frame alone, without the motion loss.
      Variant(
        name="past-no-motion",
        overrides=(*past, *without),
        paper=_printed(2.46, 0.68, 0.41, 65.92),
      ),
      Variant(
        name="past", overrides=past, paper=_printed(2.36, 0.77, 0.38, 60.80)
      ),
      # If it equals no-motion with one seed, it does with all.
      Variant(name="printed", overrides=(f"{motion}.on=noisy",), seeds=(0,)),
      Variant(name="zero", overrides=(f"{motion}.relative_to=zero",)),
    ),
    splits={
      "test": "held-out people",
      "validation": "held-out time of known people",
    },
    claims=(
      Claim(
        text="the motion loss lowers TC",
        metric="tc_mask",
        first="dual",
        second="no-motion",
      ),
      Claim(
        text="and does not lower SSIM",
        metric="ssim_mask",
        first="dual",
        second="no-motion",
        relation="not worse",
      ),
      Claim(
        text="it lowers TC with the past frame alone, too",
        metric="tc_mask",
        first="past",
        second="past-no-motion",
      ),
      Claim(
        text="Eq. (4) as printed changes nothing",
        metric="psnr_mask",
        first="printed",
        second="no-motion",
        relation="equal",
      ),
      Claim(
        text="relative to the true motion beats relative to none",
        metric="psnr_mask",
        first="dual",
        second="zero",
      ),
    ),
  )


def _printed(
  fid: float, ssim: float, tc: float, fvd: float
) -> dict[str, float]:
  """A row of the paper's Table 4, of iCOPEvid at 512 px."""
  return {"fid_paper": fid, "ssim_paper": ssim, "tc_paper": tc, "fvd": fvd}
