"""Settings that are out of range are refused, each by its own name."""

from dataclasses import replace

import pytest

from diffmvr_jax.config import completed, load_config
from diffmvr_jax.config.ranges import bounds_of
from diffmvr_jax.errors import InputError
from tests.aligned import anchored
from tests.config.numbers import NUMBERS, outside
from tests.conftest import TINY


def test_every_number_has_bounds():
  assert len(NUMBERS) > 90
  assert "model.fusion.cell" in NUMBERS and "model.unet.heads" in NUMBERS
  without = [path for path, hint in NUMBERS.items() if not bounds_of(hint)]
  assert not without


@pytest.fixture(scope="module")
def fused():
  return anchored(load_config(TINY), "fused")


def refusal(config, assignment):
  with pytest.raises(InputError) as caught:
    completed(config, [assignment])
  return str(caught.value)


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_outside_is_refused_by_its_name(path, fused):
  for value in outside(NUMBERS[path]):
    said = refusal(fused, f"{path}={value}")
    assert said.startswith(f"config key {path}: "), said
    assert " is not " in said and "\n" not in said


def test_what_is_no_number_is_refused(fused):
  changed = replace(fused, diffusion=replace(fused.diffusion, noise_share=NAN))
  assert "nan is not a finite number" in refusal(changed, "seed=1")


NAN = float("nan")


@pytest.mark.parametrize(
  "name", ["../../x", "/x", "a/b", "..", "", "a\\b", "\0"]
)
def test_a_name_is_no_path(name, fused):
  config = replace(fused, name=name)
  assert "is not a plain name" in refusal(config, "seed=1")


@pytest.mark.parametrize(
  ("overrides", "said"),
  [
    (["model.unet.heads=(3,2)"], "heads: 3 does not divide 8"),
    (["model.unet.norm_groups=7"], "norm_groups=7 does not divide"),
    (["model.autoencoder.norm_groups=3"], "norm_groups=3 does not divide"),
    (["model.clip.patch_size=5"], "patch_size=5 does not divide"),
    (["model.clip.heads=3"], "model.clip.heads=3 does not divide"),
    (["model.clip.output_layer=7"], "is no hidden state of 1 layers"),
    (["model.unet.block_channels=()"], "at least one entry"),
    (["model.autoencoder.block_channels=()"], "at least one entry"),
    (["sampling.steps=2000"], "sampling.steps=2000 is more than diffusion"),
    (["diffusion.beta_start=0.5"], "beta_start is more than"),
  ],
)
def test_numbers_that_do_not_divide_are_refused(overrides, said):
  with pytest.raises(InputError) as caught:
    load_config(TINY, overrides)
  assert said in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_seed_has_63_bits():
  assert load_config(TINY, [f"seed={2**63 - 1}"]).seed == 2**63 - 1
  with pytest.raises(InputError, match="config key seed"):
    load_config(TINY, [f"seed={2**63}"])
