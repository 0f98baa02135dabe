import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.models.frames import to_float, to_uint8
from diffmvr_jax.models.observation import Observation


def observation(seed=0, symmetric=True, past=True):
  rng = np.random.default_rng(seed)

  def image(channels=3, high=256):
    values = rng.integers(0, high, (1, 2, 32, 32, channels))
    return jnp.asarray(values, jnp.uint8)

  return Observation(
    frame=image(),
    mask=image(1, 2),
    symmetric=image(),
    past=image(),
    symmetric_valid=jnp.full((1, 2), symmetric),
    past_valid=jnp.full((1, 2), past),
  )


def build(config, **guidance):
  guidance = dataclasses.replace(config.model.guidance, **guidance)
  model = DiffMVR(config=dataclasses.replace(config.model, guidance=guidance))
  return model, initial(model)


def initial(model):
  """Random parameters of the right shapes; compiling `init` takes longer."""
  rng = np.random.default_rng(0)
  shapes = model.shapes(32)

  def draw(path, leaf):
    # Scales near 1 keep activations in range.
    mean = 1.0 if path[-1].key in ("scale", "scaling_factor") else 0.0
    values = mean + 0.1 * rng.standard_normal(leaf.shape)
    return jnp.asarray(values, leaf.dtype)

  return jax.tree.map_with_path(draw, shapes)


def condition(model, params, seen):
  return jax.jit(model.condition)(params, seen)


@pytest.mark.parametrize(
  ("settings", "tokens"),
  [
    ({"encoder": "clip", "tokens": "patch"}, 5),
    ({"encoder": "clip", "tokens": "pooled"}, 1),
    ({"encoder": "latent", "latent_patch": 2}, 16),
    ({"encoder": "both", "latent_patch": 1}, 5 + 64),
  ],
)
def test_every_guidance_encoder_gives_its_tokens(tiny_config, settings, tokens):
  model, params = build(tiny_config, **settings)
  noisy = jnp.ones((2, 8, 8, 4))

  @jax.jit
  def run(params):
    conditioning = model.condition(params, observation())
    steps = jnp.zeros(2, jnp.int32)
    return conditioning, model.predict(params, noisy, steps, conditioning)

  conditioning, output = run(params)
  assert conditioning.context["past"].shape == (2, tokens, 16)
  assert output.shape == noisy.shape


def test_without_any_guidance_the_null_token_stands_in(tiny_config):
  model, params = build(tiny_config)
  null = params["guidance"]["null_token"]
  nothing = condition(model, params, observation(symmetric=False, past=False))
  for tokens in nothing.context.values():
    np.testing.assert_array_equal(tokens, jnp.broadcast_to(null, tokens.shape))
  one = condition(model, params, observation(symmetric=False, past=True))
  assert not (one.context["past"] == null).all()


def test_what_is_under_the_mask_does_not_reach_the_network(tiny_config):
  model, params = build(tiny_config)
  seen = observation()
  hidden = seen.replace(
    frame=jnp.where(seen.mask > 0, 255 - seen.frame, seen.frame)
  )
  first = condition(model, params, seen)
  second = condition(model, params, hidden)
  leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
  for one, other in leaves:
    np.testing.assert_array_equal(one, other)


def test_dropping_guidance_clears_it_for_a_whole_window(tiny_config):
  model, params = build(tiny_config)
  keep = {"symmetric": jnp.array([False]), "past": jnp.array([True])}

  def drop(params, seen):
    return model.contextualise(params, model.observe(params, seen), keep)

  conditioning = jax.jit(drop)(params, observation())
  np.testing.assert_array_equal(conditioning.valid["symmetric"], [0, 0])
  np.testing.assert_array_equal(conditioning.valid["past"], [1, 1])


def test_present_branch_is_the_masked_frame(tiny_config):
  unet = dataclasses.replace(
    tiny_config.model.unet, branches=("present",), alpha=(1.0,)
  )
  model = DiffMVR(config=dataclasses.replace(tiny_config.model, unet=unet))
  params = initial(model)
  seen = observation(symmetric=False, past=False)
  conditioning = condition(model, params, seen)
  np.testing.assert_array_equal(conditioning.valid["present"], [1, 1])
  assert set(conditioning.context) == {"present"}


def test_scaling_factor_scales_latents_and_leaves_images(tiny_config):
  model, params = build(tiny_config)
  image = jnp.zeros((1, 32, 32, 3))
  scaled = params | {"scaling_factor": jnp.float32(3)}
  encode, decode = jax.jit(model.encode), jax.jit(model.decode)
  latents = encode(params, image)
  factor = 3 / params["scaling_factor"]
  np.testing.assert_allclose(
    encode(scaled, image), factor * latents, rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(
    decode(scaled, factor * latents), decode(params, latents), atol=1e-4
  )


def test_uint8_round_trip_is_exact():
  values = jnp.arange(256, dtype=jnp.uint8)
  np.testing.assert_array_equal(to_uint8(to_float(values)), values)
