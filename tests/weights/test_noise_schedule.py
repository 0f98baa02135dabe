"""The noise schedule that comes with imported weights."""

import json

import pytest

from diffmvr_jax.config import load_config
from diffmvr_jax.errors import InputError
from diffmvr_jax.weights.noise_schedule import with_own_schedule
from tests.weights.tiny_sd import CONFIG


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "scheduler").mkdir()

  def write(**values):
    own = {"beta_start": 0.00085, "beta_end": 0.012} | values
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(own))
    return tmp_path

  return write


def test_a_pipelines_own_counts_unless_it_is_named(folder):
  config = load_config(CONFIG)
  assert config.diffusion.beta_end == 0.0145
  path = folder(prediction_type="v_prediction", beta_schedule="scaled_linear")
  taken, (said,) = with_own_schedule(config, [path], [])
  assert taken.diffusion.beta_end == 0.012
  assert taken.diffusion.prediction == "v"
  assert "beta_start 0.00085, beta_end 0.012, prediction v" in said
  named = ["diffusion.beta_start=0.0008", "diffusion.beta_end=0.0145"]
  kept, _ = with_own_schedule(config, [path], named)
  assert kept.diffusion.beta_end == 0.0145
  assert kept.diffusion.prediction == "v"


def test_a_source_without_one_changes_nothing(tmp_path):
  config = load_config(CONFIG)
  assert with_own_schedule(config, [tmp_path], []) == (config, [])


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"beta_schedule": "linear"}, "known are 'scaled_linear'"),
    ({"prediction_type": "flow"}, "prediction_type 'flow'"),
    ({"beta_end": "a"}, "not a scheduler's configuration"),
  ],
)
def test_other_schedules_are_one_line(values, message, folder):
  with pytest.raises(InputError, match=message):
    with_own_schedule(load_config(CONFIG), [folder(**values)], [])
