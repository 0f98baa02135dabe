import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from diffmvr_jax.config import (
  FusionConfig,
  check,
  completed,
  from_dict,
  load_config,
  needed_arrays,
  to_json,
)
from diffmvr_jax.errors import InputError
from tests.aligned import anchored
from tests.conftest import TINY

CONFIGS = Path(__file__).parents[2] / "configs"
# Sweeps have a test of their own.
FILES = sorted(
  p for p in CONFIGS.glob("*.py") if "def get_config" in p.read_text()
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_shipped_config_loads(path):
  config = load_config(path)
  assert from_dict(json.loads(to_json(config))) == config


def test_override_reaches_a_nested_field():
  config = load_config(CONFIGS / "drawn64.py", ["model.unet.alpha=(0.3,0.7)"])
  assert config.model.unet.alpha == (0.3, 0.7)


def test_the_word_none_is_a_choice_where_there_is_one():
  config = load_config(CONFIGS / "sd15_512_v5e_256.py", ["model.remat=none"])
  assert config.model.remat == "none"
  config = load_config(CONFIGS / "drawn64.py", ["init_from=none"])
  assert config.init_from is None


@pytest.mark.parametrize(
  ("override", "said"),
  [
    ("sed=1", "unknown config key sed; did you mean seed?"),
    (
      "diffusion_stage.stepz=1",
      "unknown config key diffusion_stage.stepz; "
      "did you mean diffusion_stage.steps?",
    ),
    ("seed=abc", "config key seed: expected int, got str 'abc'"),
    ("seed=1.5", "config key seed: expected int, got float 1.5"),
    ("data.flip=1", "config key data.flip: expected bool, got int 1"),
    (
      "diffusion.prediction=x0",
      "config key diffusion.prediction: 'x0' is not one of epsilon, v",
    ),
    ("seed.x=1", "config key seed: expected int, got dict {'x': 1}"),
    ("model=3", "config key model: is a section, not a value"),
    ("seed", "override 'seed' is not of the form key=value"),
    ("model.unet.in_channels=4", "needs model.unet.in_channels=9"),
    ("model.unet.heads=(1,)", "need one entry per entry"),
    ("model.unet.alpha=(1.0,)", "one entry per branch"),
    ("data.image_size=60", "is not a multiple of 8"),
  ],
)
def test_bad_override_is_one_line(override, said):
  with pytest.raises(InputError) as caught:
    load_config(CONFIGS / "drawn64.py", [override])
  assert said in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("overrides", "said"),
  [
    (["model.fusion=none"], "anchor=fused needs model.fusion"),
    (["diffusion.prediction=v"], "needs diffusion.prediction=sample"),
    (["model.unet.in_channels=9"], "needs model.unet.in_channels=14"),
    (["model.guidance.concat=('past','past')"], "names an image twice"),
    (["diffusion.anchor=none"], "reference needs a diffusion.anchor"),
    (
      ["diffusion.anchor=none", "model.decoding=plain", "sampling.steps=0"],
      "0 steps need a diffusion.anchor",
    ),
    (["data.encoded=x", "data.flip=False"], "frozen encoders"),
    (
      ["diffusion.anchor=none", "model.decoding=plain", "sampling.detail=2"],
      "detail above 1 comes from propagation",
    ),
    (["data.in_memory=True", "data.encoded=x"], "leave out data.encoded"),
    (["sampling.region=mask"], "region=mask does not go with diffusion.anchor"),
    (["model.fusion.blocks=(1,)"], "one entry per entry of channels"),
    (["model.fusion.cell=3"], "must be even"),
    (["model.fusion.cell=6"], "is not a multiple of 12"),
    (["fusion_stage.validate_every=2"], "needs fusion_stage.validate_batches"),
    (
      [
        "diffusion.anchor=propagated",
        "model.fusion=none",
        "fusion_stage.steps=1",
      ],
      "fusion_stage.steps needs model.fusion",
    ),
  ],
)
def test_settings_of_an_anchor_that_contradict_are_refused(overrides, said):
  config = anchored(load_config(TINY), "fused")
  with pytest.raises(InputError) as caught:
    completed(config, overrides)
  assert said in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_fusion_is_set_by_one_of_its_settings():
  config = load_config(TINY, ["model.fusion.sources=2"])
  assert config.model.fusion == FusionConfig(sources=2)
  assert needed_arrays(config) == ()
  assert "source_flow" in needed_arrays(config, "fusion")


def test_config_file_of_the_wrong_type_is_refused(tmp_path):
  path = tmp_path / "broken.py"
  path.write_text("def get_config():\n  return 3\n")
  with pytest.raises(InputError, match="must return"):
    load_config(path)


def test_integers_are_accepted_for_floats():
  config = load_config(CONFIGS / "drawn64.py", ["diffusion.noise_share=1"])
  assert config.diffusion.noise_share == 1.0
  assert isinstance(config.diffusion.noise_share, float)


def test_blend_needs_a_four_channel_unet():
  config = load_config(CONFIGS / "drawn64.py")
  model = dataclasses.replace(config.model, mask_conditioning="blend")
  with pytest.raises(InputError, match="in_channels=4"):
    check(dataclasses.replace(config, model=model))


def test_command_ends_in_one_line_and_code_2(tmp_path):
  command = [sys.executable, "-m", "diffmvr_jax.train"]
  command += ["--config", str(CONFIGS / "drawn64.py")]
  command += ["--workdir", str(tmp_path), "sede=1"]
  run = subprocess.run(command, capture_output=True, text=True, check=False)
  assert run.returncode == 2
  assert run.stderr == "error: unknown config key sede; did you mean seed?\n"
