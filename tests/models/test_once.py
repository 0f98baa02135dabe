"""What is computed once: the same numbers and gradients, stored on CPUs."""

import jax
import jax.numpy as jnp
import pytest

from diffmvr_jax.models.kernels.once import computed_once


def _squares(x: jax.Array) -> jax.Array:
  return jnp.square(x)


def test_gives_the_function_s_values_and_gradients():
  x = jnp.arange(6.0).reshape(2, 3)
  assert jnp.array_equal(computed_once(_squares, x), x**2)
  gradient = jax.grad(lambda x: computed_once(_squares, x).sum())(x)
  assert jnp.array_equal(gradient, 2 * x)


def test_takes_numbers_that_are_not_finite():
  x = jnp.array([jnp.nan, 2.0])
  assert float(computed_once(_squares, x)[1]) == 4


@pytest.mark.skipif(
  jax.default_backend() != "cpu", reason="XLA fuses as it likes elsewhere"
)
def test_is_stored_on_a_cpu():
  def used_twice(x: jax.Array) -> jax.Array:
    root = computed_once(jnp.sin, x)
    return jnp.concatenate([root + 1, root * 2])

  program = jax.jit(used_twice).lower(jnp.ones(64)).compile().as_text()
  assert program is not None
  # Once in each of the two branches, of which one runs.
  assert program.count("sine(") == 2
