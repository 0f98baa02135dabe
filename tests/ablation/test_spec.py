"""Sweeps' config files."""

from pathlib import Path

import pytest

from diffmvr_jax.ablation.spec import load_sweep
from diffmvr_jax.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
  "name",
  [
    "ablation_anchor",
    "ablation_guidance",
    "ablation_loss",
    "ablation_steps",
  ],
)
def test_the_shipped_sweeps_load(name):
  sweep = load_sweep(CONFIGS / f"{name}.py", ["seeds=0,5"])
  assert sweep.seeds == (0, 5)
  assert len({v.name for v in sweep.variants}) == len(sweep.variants)


def test_the_rows_of_table_4_differ_as_they_say():
  sweep = load_sweep(CONFIGS / "ablation_loss.py")
  rows = {
    variant.name: sweep.config_of(variant, 0, None)
    for variant in sweep.variants
    if variant.paper
  }
  assert {
    name: (len(c.model.unet.branches), c.diffusion_stage.motion.weight > 0)
    for name, c in rows.items()
  } == {
    "past-no-motion": (1, False),
    "no-motion": (2, False),
    "past": (1, True),
    "dual": (2, True),
  }


def test_mistakes_end_in_one_line(tmp_path):
  def loading(text, *overrides):
    path = tmp_path / "sweep.py"
    path.write_text(text)
    return load_sweep(path, overrides)

  shipped = (CONFIGS / "ablation_loss.py").read_text()
  shipped = shipped.replace(
    "Path(__file__).with_name", f"Path('{CONFIGS}').joinpath"
  )
  assert loading(shipped).title == "Loss"
  with pytest.raises(
    InputError, match=r"unknown config key diffusion_stage\.stops"
  ):
    loading(shipped, "diffusion_stage.stops=1")
  with pytest.raises(InputError, match="seeds=x: give numbers"):
    loading(shipped, "seeds=x")
  with pytest.raises(InputError, match="a claim about no-notion"):
    loading(shipped.replace('second="no-motion"', 'second="no-notion"'))
  with pytest.raises(InputError, match="two variants have one name"):
    loading(shipped.replace('name="zero"', 'name="dual"'))
  with pytest.raises(InputError, match=r"zero: .* cannot change a finished"):
    loading(
      shipped.replace('name="zero",', 'name="zero", checkpoint="runs/zero",')
    )
  with pytest.raises(InputError, match="no metric psnr_musk; there are"):
    loading(shipped.replace('metric="psnr_mask"', 'metric="psnr_musk"'))
  with pytest.raises(InputError, match=r"must return a diffmvr_jax Sweep"):
    loading("def get_sweep(): return 1")
  with pytest.raises(InputError, match="no such config file"):
    load_sweep(tmp_path / "missing.py")
