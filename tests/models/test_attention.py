import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.models.attention import (
  FeedForward,
  TwinCrossAttention,
  branch_weights,
)

BRANCHES = ("symmetric", "past")


def inputs(seed=0):
  keys = jax.random.split(jax.random.key(seed), 3)
  x = jax.random.normal(keys[0], (2, 5, 8))
  context = {
    name: jax.random.normal(key, (2, 7, 6))
    for name, key in zip(BRANCHES, keys[1:], strict=True)
  }
  return x, context


def valid(symmetric, past):
  return {
    "symmetric": jnp.full(2, float(symmetric)),
    "past": jnp.full(2, float(past)),
  }


def test_fused_output_is_the_weighted_sum_of_the_branches():
  x, context = inputs()
  twin = TwinCrossAttention(2, BRANCHES, (0.3, 0.7))
  params = twin.init(jax.random.key(1), x, context, valid(1, 1))
  # By hand, in numpy and float64, formulas (a) and (b).
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])

  def heads(a):
    return a.reshape(2, -1, 2, 4).transpose(0, 2, 1, 3)

  query = heads(np.asarray(x, np.float64) @ p["to_q"]["kernel"])
  fused = 0
  for name, alpha in zip(BRANCHES, (0.3, 0.7), strict=True):
    tokens = np.asarray(context[name], np.float64)
    key = heads(tokens @ p[f"to_k_{name}"]["kernel"])
    value = heads(tokens @ p[f"to_v_{name}"]["kernel"])
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(4)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    fused += alpha * (scores @ value).transpose(0, 2, 1, 3).reshape(2, 5, 8)
  expected = fused @ p["to_out_0"]["kernel"] + p["to_out_0"]["bias"]
  actual = twin.apply(params, x, context, valid(1, 1))
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_alpha_one_zero_equals_the_single_branch():
  x, context = inputs()
  twin = TwinCrossAttention(2, BRANCHES, (1.0, 0.0))
  params = twin.init(jax.random.key(1), x, context, valid(1, 1))
  single = TwinCrossAttention(2, ("symmetric",), (1.0,))
  own = {k: v for k, v in params["params"].items() if "past" not in k}
  np.testing.assert_allclose(
    twin.apply(params, x, context, valid(1, 1)),
    single.apply({"params": own}, x, context, valid(1, 1)),
    atol=1e-6,
  )


def test_a_missing_branch_has_no_influence():
  x, context = inputs()
  twin = TwinCrossAttention(2, BRANCHES, (0.5, 0.5))
  params = twin.init(jax.random.key(1), x, context, valid(1, 1))
  other = context | {"past": context["past"] + 100}
  np.testing.assert_array_equal(
    twin.apply(params, x, context, valid(1, 0)),
    twin.apply(params, x, other, valid(1, 0)),
  )


def test_weights_keep_their_sum_when_a_branch_is_missing():
  alpha = jnp.array([0.3, 0.9])
  present = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
  np.testing.assert_allclose(
    branch_weights(alpha, present),
    [[0.3, 0.9], [1.2, 0.0], [0.0, 1.2], [0.3, 0.9]],
    rtol=1e-6,
  )


def test_learned_alpha_starts_at_its_setting_and_gets_a_gradient():
  x, context = inputs()
  twin = TwinCrossAttention(2, BRANCHES, (0.4, 0.6), learned_alpha=True)
  params = twin.init(jax.random.key(1), x, context, valid(1, 1))
  np.testing.assert_allclose(params["params"]["alpha"], [0.4, 0.6])

  def loss(p):
    return jnp.square(twin.apply(p, x, context, valid(1, 1))).sum()

  assert (jax.grad(loss)(params)["params"]["alpha"] != 0).all()


def test_feed_forward_uses_the_exact_gelu():
  x = jnp.linspace(-3, 3, 8).reshape(1, 1, 8)
  layer = FeedForward()
  params = layer.init(jax.random.key(0), x)
  p = params["params"]
  projected = x @ p["net_0_proj"]["kernel"] + p["net_0_proj"]["bias"]
  hidden, gate = jnp.split(projected, 2, axis=-1)
  exact = gate * 0.5 * (1 + jax.scipy.special.erf(gate / jnp.sqrt(2.0)))
  expected = (hidden * exact) @ p["net_2"]["kernel"] + p["net_2"]["bias"]
  np.testing.assert_allclose(layer.apply(params, x), expected, atol=1e-6)
