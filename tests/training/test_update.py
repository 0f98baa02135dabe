"""One update: accumulation, freezing, rematerialisation, schedules of λ."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffmvr_jax.config import OptimizerConfig
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.training.inputs import encode_images
from diffmvr_jax.training.objectives import diffusion_loss
from diffmvr_jax.training.optimizer import frozen_labels, make_optimizer
from diffmvr_jax.training.step import accumulated


@pytest.fixture(scope="module")
def batch(tiny_data):
  source = WindowSource(
    RecordSource(tiny_data, "train"), window=3, stride=1, image_size=32
  )
  windows = [source[i] for i in (0, 5, 9, 30)]
  return {
    name: np.stack([w[name] for w in windows])
    for name in windows[0]
    if name != "window_id"
  }


@pytest.fixture(scope="module")
def params(tiny_config):
  model = DiffMVR(config=tiny_config.model)
  return jax.jit(lambda key: model.init(key, 32))(jax.random.key(0))


def gradients(config, params, batch, parts=1, step=10):
  """Of the U-Net alone, and the metrics."""
  model = DiffMVR.of(config)
  loss = diffusion_loss(model, config, encode_images(model))

  def total(unet, batch, keys):
    return loss(params | {"unet": unet}, batch, keys, jnp.int32(step))

  keys = jax.random.split(jax.random.key(1), 4)
  gradient = accumulated(jax.grad(total, has_aux=True), parts)
  return jax.jit(gradient)(params["unet"], batch, keys)


def change(config, path, value):
  name, *rest = path.split(".")
  inner = (
    change(getattr(config, name), ".".join(rest), value) if rest else value
  )
  return dataclasses.replace(config, **{name: inner})


@pytest.fixture(scope="module")
def whole(tiny_config, params, batch):
  return gradients(tiny_config, params, batch)


def assert_close(one, other, tolerance):
  scale = float(optax.tree.norm(other))
  difference = float(optax.tree.norm(jax.tree.map(jnp.subtract, one, other)))
  assert scale > 0 and difference <= tolerance * scale


def test_accumulation_equals_the_large_batch(tiny_config, params, batch, whole):
  parts, metrics = gradients(tiny_config, params, batch, parts=2)
  assert_close(parts, whole[0], 1e-6)
  for name, value in whole[1].items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-6)


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialisation_changes_no_gradient(
  remat, tiny_config, params, batch, whole
):
  config = change(tiny_config, "model.remat", remat)
  again, _ = gradients(config, params, batch)
  assert_close(again, whole[0], 1e-5)


def test_the_weight_of_motion_rises(tiny_config, params, batch, whole):
  config = change(tiny_config, "diffusion_stage.motion.warmup_steps", 40)
  _, metrics = gradients(config, params, batch, step=10)
  weight = tiny_config.diffusion_stage.motion.weight
  total = metrics["denoising"] + 0.25 * weight * metrics["motion"]
  np.testing.assert_allclose(metrics["loss"], total, rtol=1e-6)
  np.testing.assert_allclose(metrics["motion"], whole[1]["motion"], rtol=1e-5)


PARAMS = {
  "unet": {"down": {"w": jnp.ones(3), "b": jnp.ones(1)}, "up": jnp.ones(2)}
}


@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_frozen_parameters_rest_and_the_others_move(kind):
  config = OptimizerConfig(
    kind=kind, freeze=("unet/down/.*",), warmup_steps=0, learning_rate=0.1
  )
  optimizer = make_optimizer(config, steps=10)
  state = optimizer.init(PARAMS)
  gradient = jax.tree.map(jnp.ones_like, PARAMS)
  updates, _ = optimizer.update(gradient, state, PARAMS)
  moved = optax.apply_updates(PARAMS, updates)["unet"]
  assert (moved["down"]["w"] == 1).all() and (moved["down"]["b"] == 1).all()
  assert (moved["up"] != 1).all()
  # Frozen parameters have no moments.
  assert all(x.size <= 2 for x in jax.tree.leaves(state))


def test_patterns_match_whole_paths_or_are_refused():
  labels = frozen_labels(PARAMS, ["unet/down/w"])
  assert labels["unet"]["down"] == {"w": "frozen", "b": "trained"}
  with pytest.raises(InputError, match="'down' matches no parameter"):
    frozen_labels(PARAMS, ["down"])
  with pytest.raises(InputError, match="nothing is left to train"):
    frozen_labels(PARAMS, [".*"])
