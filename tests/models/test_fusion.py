"""The fusion network: what no training gives, and that all of it can learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.models.fusion import Fusion
from diffmvr_jax.models.sightings import sightings_of
from diffmvr_jax.models.warping import carried, warp
from tests.aligned import tiny_fusion, with_arrays
from tests.models.test_diffmvr import observation


@pytest.fixture(scope="module")
def seen():
  return sightings_of(with_arrays(observation()), 4)


@pytest.fixture(scope="module")
def network(seen):
  fusion = Fusion(tiny_fusion())
  params = jax.jit(fusion.init)(jax.random.key(0), seen)["params"]
  return jax.jit(lambda p, s: fusion.apply({"params": p}, s)), params


def test_untrained_it_gives_the_propagated_image(network, seen):
  apply, params = network
  np.testing.assert_array_equal(apply(params, seen), seen.propagated)


def test_what_is_under_the_mask_does_not_reach_it(network, seen):
  apply, params = network
  params = perturbed(params)
  hidden = seen.replace(frame=jnp.where(seen.mask > 0, -seen.frame, seen.frame))
  np.testing.assert_array_equal(apply(params, hidden), apply(params, seen))
  changed = seen.replace(frame=-seen.frame)
  assert (apply(params, changed) != apply(params, seen)).any()


def test_a_source_that_does_not_exist_has_no_part(network, seen):
  apply, params = network
  params = perturbed(params)
  other = seen.replace(sources=seen.sources.at[:, -1].multiply(-1))
  assert not seen.valid[:, -1].any()
  np.testing.assert_array_equal(apply(params, other), apply(params, seen))


def test_every_parameter_learns(network, seen):
  apply, params = network
  target = -seen.propagated

  def loss(params):
    return jnp.mean(jnp.square(apply(params, seen) - target))

  gradients = jax.grad(loss)(perturbed(params))
  for path, leaf in jax.tree.leaves_with_path(gradients):
    assert np.isfinite(leaf).all(), path
    assert np.abs(leaf).max() > 0, path


def test_sources_that_fit_the_surroundings_weigh_more(network, seen):
  """Formula (b), where g makes up for the 0.8; other heads are at zero."""
  apply, params = network
  truth = jnp.full_like(seen.frame, 0.3)
  still = seen.replace(
    frame=truth,
    propagated=truth - 0.5,
    confidence=jnp.zeros_like(seen.confidence),
    mask=jnp.zeros_like(seen.mask).at[:, 8:16, 8:16].set(1),
    sources=jnp.stack([truth, truth - 1, truth, truth], 1),
    known=jnp.ones_like(seen.known),
    flow=jnp.zeros_like(seen.flow),
  )
  gate = jnp.zeros((4, 9)).at[:, 4].set(1.25).ravel()  # l, g, g', e of 4 pixels
  bias = params["fine_out"] | {"bias": gate}
  fused = apply(params | {"fine_out": bias}, still)
  assert float(jnp.abs(fused - truth).max()) < 0.1


def test_what_is_sure_changes_little(network, seen):
  """Formula (c), with a residual e of 1 everywhere."""
  apply, params = network
  residual = jnp.zeros((4, 9)).at[:, 6:].set(1).ravel()
  bias = params["fine_out"] | {"bias": residual}
  sure = jnp.full_like(seen.confidence, 0.75).at[:, :4].set(1)
  fused = apply(params | {"fine_out": bias}, seen.replace(confidence=sure))
  change = fused - seen.propagated
  assert float(jnp.abs(change[:, :4]).max()) == 0
  np.testing.assert_allclose(change[:, 4:], 0.8 * 0.25, atol=1e-5)


def test_a_warp_looks_where_the_flow_points():
  rng = np.random.default_rng(0)
  image = jnp.asarray(rng.random((2, 6, 7, 3)), jnp.float32)
  np.testing.assert_array_equal(warp(image, jnp.zeros((2, 6, 7, 2))), image)
  half = warp(image, jnp.full((2, 6, 7, 2), 0.5))
  four = (image[:, :-1, :-1] + image[:, 1:, :-1]) / 4
  four += (image[:, :-1, 1:] + image[:, 1:, 1:]) / 4
  np.testing.assert_allclose(half[:, :-1, :-1], four, atol=1e-6)


def test_what_is_carried_is_near_what_was_seen():
  ramp = jnp.broadcast_to(jnp.arange(16.0)[None, None, :, None], (1, 16, 16, 1))
  seen = jnp.ones_like(ramp).at[:, 4:8, 4:8].set(0)
  filled = carried(jnp.where(seen > 0, ramp, 99.0), seen)
  np.testing.assert_array_equal(filled[seen > 0], ramp[seen > 0])
  assert float(jnp.abs(filled - ramp).max()) < 4


def perturbed(params):
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: x + 0.1 * rng.standard_normal(x.shape).astype(np.float32), params
  )
