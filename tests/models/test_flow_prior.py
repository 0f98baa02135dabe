"""Flow under a mask, completed from its visible half."""

import jax.numpy as jnp
import numpy as np

from diffmvr_jax.models.flow_prior import (
  completed,
  empty_prior,
  fitted_prior,
  visible_flows,
)


def smooth_flows(count, seed):
  """Turning, shifting and growing heads: what six numbers describe."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:32, :32] / 16 - 1
  one, zero = np.ones_like(x), np.zeros_like(x)
  basis = [(one, zero), (zero, one), (x, y), (-y, x), (x * x, x * y), (x, -y)]
  basis = np.stack([np.stack(pair, -1) for pair in basis])
  return np.tensordot(0.03 * rng.standard_normal((count, 6)), basis, 1)


def hidden_half(size):
  mask = np.zeros((1, size, size, 1), np.uint8)
  mask[:, :, size // 2 :] = 1
  return mask


def test_a_flow_is_recovered_from_its_visible_half():
  size = 64
  shown = np.ones((300, 32, 32))
  shown[::2, :16] = 0  # some of the flows that it learns from are half hidden
  prior = fitted_prior(smooth_flows(300, 0), shown, 8)
  truth = jnp.asarray(size * smooth_flows(5, 1), jnp.float32)
  mask = jnp.asarray(hidden_half(size), jnp.float32)
  hidden = mask[0, ::2, ::2, 0] > 0
  broken = jnp.where(hidden[None, ..., None], 0.0, truth)
  masks = jnp.repeat(mask, 5, 0)

  def error(flow):
    return float(jnp.abs(flow - truth)[:, hidden].mean())

  own = error(completed(prior, broken, masks))
  carried = error(completed(empty_prior(8), broken, masks))
  assert own < 0.2 * carried < 0.2 * error(broken)
  far = np.s_[:, :, : 32 // 2 - 2]
  kept = completed(prior, broken, masks)
  np.testing.assert_array_equal(kept[far], broken[far])


def test_without_a_mask_flow_stays_as_it_is():
  flow = jnp.asarray(smooth_flows(2, 3), jnp.float32)
  free = jnp.zeros((2, 64, 64, 1))
  np.testing.assert_array_equal(completed(empty_prior(4), flow, free), flow)


def test_only_sources_that_exist_are_learned_from():
  flow = np.full((2, 16, 16, 2), 3.2, np.float16)
  mask = hidden_half(32)[0]
  flows, visible = visible_flows(flow, np.array([True, False]), mask)
  assert flows.shape == (1, 32, 32, 2)
  np.testing.assert_allclose(flows, 0.1, rtol=1e-3)
  np.testing.assert_array_equal(visible[0], 1 - mask[..., 0])
