"""Restoring from an anchor: the equations, and what no training gives."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.diffusion.anchor import to_latents, to_residual
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.sampling import restore_window
from diffmvr_jax.models.diffmvr import DiffMVR
from tests.aligned import anchored, with_arrays
from tests.models.test_diffmvr import initial, observation

INDEX = jnp.arange(2)[None]


def untrained(model):
  """Random parameters, but for the heads that start at zero."""
  params = initial(model)
  params["unet"]["conv_out"] = zeros(params["unet"]["conv_out"])
  for name in ("correct", "paint", "fine_out"):
    if "fusion" in params:
      params["fusion"][name] = zeros(params["fusion"][name])
  return params | {"residual_scale": jnp.float32(0.5)}


def zeros(tree):
  return jax.tree.map(jnp.zeros_like, tree)


def expected(seen):
  """The propagated image under the mask, the frame elsewhere."""
  return np.asarray(jnp.where(seen.mask > 0, seen.propagated, seen.frame))


def restored(config, params, seen, **sampling):
  program = jax.jit(
    partial(
      restore_window,
      config.model,
      dataclasses.replace(config.sampling, **sampling),
    )
  )
  schedule = make_schedule(config.diffusion)
  key = jax.random.key(0)
  previous = jnp.full((32, 32, 3), 90, jnp.uint8)
  begun = {"previous": previous} if sampling.get("start_at", 1) < 1 else {}
  return np.asarray(program(params, schedule, seen, key, INDEX, **begun))


@pytest.mark.parametrize(
  ("anchor", "sampling"),
  [
    ("propagated", {"steps": 0}),
    ("propagated", {"steps": 1}),
    ("propagated", {"steps": 4, "start_at": 0.5, "guidance": (2.0, 1.0)}),
    ("fused", {"steps": 3}),
  ],
)
def test_an_untrained_model_restores_its_anchor(anchor, sampling, tiny_config):
  config = anchored(tiny_config, anchor, concat=("propagated", "past"))
  seen = with_arrays(observation())
  params = untrained(DiffMVR.of(config))
  images = restored(config, params, seen, **sampling)  # by ddim
  difference = np.abs(images.astype(int) - expected(seen))
  assert difference.max() <= (0 if sampling["steps"] == 0 else 1)


def test_a_trained_model_moves_away_from_its_anchor(tiny_config):
  config = anchored(tiny_config)
  seen = with_arrays(observation())
  params = initial(DiffMVR.of(config)) | {"residual_scale": jnp.float32(0.5)}
  assert (restored(config, params, seen, steps=1) != expected(seen)).any()


def test_blending_leaves_the_known_region_to_the_anchor(tiny_config):
  config = anchored(tiny_config, concat=("propagated", "symmetric"))
  model = dataclasses.replace(
    config.model,
    mask_conditioning="blend",
    unet=dataclasses.replace(config.model.unet, in_channels=14),
  )
  config = dataclasses.replace(config, model=model)
  seen = with_arrays(observation())
  images = restored(config, untrained(DiffMVR.of(config)), seen)
  assert np.abs(images.astype(int) - expected(seen)).max() <= 1


def test_residuals_and_latents_undo_each_other():
  rng = np.random.default_rng(0)
  z, a = jnp.asarray(rng.standard_normal((2, 1, 4, 4, 3)), jnp.float32)
  scale = jnp.float32(0.25)
  residual = to_residual(z, a, scale)
  np.testing.assert_allclose(residual, 4 * (z - a), rtol=1e-6)
  np.testing.assert_allclose(to_latents(residual, a, scale), z, atol=1e-6)


def test_the_restorer_feeds_what_the_model_needs(tiny_config):
  config = anchored(tiny_config, "fused", concat=("propagated", "past"))
  restorer = CropRestorer(config, untrained(DiffMVR.of(config)))
  seen = with_arrays(observation())
  window = {name: np.asarray(value)[0] for name, value in vars(seen).items()}
  images = restorer.fill(window, np.arange(2), 0)
  assert np.abs(images.astype(int) - expected(seen)[0]).max() <= 1
  del window["source_flow"]
  with pytest.raises(InputError, match="needs 'source_flow' of every frame"):
    restorer.fill(window, np.arange(2), 0)


def test_a_region_has_its_part_of_the_anchor(tiny_config):
  sampling = dataclasses.replace(tiny_config.sampling, region="mask")
  config = anchored(tiny_config, sampling=sampling)
  restorer = CropRestorer(config, untrained(DiffMVR.of(config)))
  seen = with_arrays(observation())
  mask = jnp.zeros_like(seen.mask).at[:, :, 20:28, 4:12].set(1)
  seen = seen.replace(mask=mask)
  window = {name: np.asarray(value)[0] for name, value in vars(seen).items()}
  images = restorer.fill(window, np.arange(2), 0)
  assert np.abs(images.astype(int) - expected(seen)[0]).max() <= 1
