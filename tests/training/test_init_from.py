from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.checkpoints.model import (
  open_for_inference,
  open_model,
  save_model,
)
from diffmvr_jax.config import load_config
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.training.initial import initial_params
from diffmvr_jax.training.loop import train

TINY = Path(__file__).parents[1] / "tiny_config.py"


def imported(config, networks):
  model = DiffMVR.of(config)
  shapes = model.shapes(32)
  ones = jax.tree.map(lambda x: jnp.full(x.shape, 0.5, x.dtype), shapes)
  return {name: ones[name] for name in networks}


def test_training_starts_from_the_networks_that_are_there(tiny_data, tmp_path):
  config = load_config(
    TINY,
    [
      f"data.path={tiny_data}",
      f"init_from={tmp_path / 'start'}",
      "autoencoder_stage.steps=0",
      "model.autoencoder.scaling_factor=1.0",
    ],
  )
  given = imported(config, ("unet", "autoencoder", "scaling_factor"))
  save_model(tmp_path / "start", config, given)
  train(config, tmp_path / "run")
  stored = open_for_inference(tmp_path / "run")
  trained, step = stored.load(), stored.step
  assert step == config.diffusion_stage.steps
  for leaf in jax.tree.leaves(trained["autoencoder"]):
    np.testing.assert_array_equal(leaf, 0.5)  # frozen
  for leaf in jax.tree.leaves(trained["unet"]):
    # Adam moves by at most the learning rate, 1e-3, at each of 6 steps.
    np.testing.assert_allclose(leaf, 0.5, atol=1e-2)
  assert np.std(trained["guidance"]["linear_1"]["kernel"]) > 0.1


def test_a_network_of_another_size_is_refused(tiny_data, tmp_path):
  overrides = [f"data.path={tiny_data}", f"init_from={tmp_path / 'start'}"]
  config = load_config(TINY, overrides)
  wide = load_config(TINY, [*overrides, "model.unet.context_dim=24"])
  save_model(tmp_path / "start", wide, imported(wide, ("unet",)))
  model = DiffMVR.of(config)
  with pytest.raises(InputError, match=r"its unet does not fit.*\(24, 8\)"):
    initial_params(model, config, jax.random.key(0))


def test_an_imported_part_is_no_whole_model(tiny_config, tmp_path):
  with pytest.raises(InputError, match="no trained or imported model"):
    open_model(tmp_path)
  save_model(tmp_path / "run", tiny_config, imported(tiny_config, ("unet",)))
  assert set(open_model(tmp_path / "run").shapes) == {"unet"}
  with pytest.raises(InputError, match="without autoencoder, clip, guidance"):
    open_for_inference(tmp_path / "run")


def test_streamed_parameters_are_those_that_are_loaded(tiny_checkpoint):
  model = open_model(tiny_checkpoint)
  loaded = model.load(["unet", "scaling_factor"])
  paths, expected = ["scaling_factor"], [loaded["scaling_factor"]]
  for keys, leaf in jax.tree.leaves_with_path(loaded["unet"]):
    paths.append("/".join(["unet", *(key.key for key in keys)]))
    expected.append(leaf)
  for chunk_bytes in (1, 10_000, 2**27):
    streamed = list(model.stream(paths, chunk_bytes))
    assert len(streamed) == len(expected)
    for one, other in zip(streamed, expected, strict=True):
      np.testing.assert_array_equal(one, other)
