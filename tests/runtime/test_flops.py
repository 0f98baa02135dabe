"""The arithmetic of a traced program, counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from diffmvr_jax.models.attention import attend
from diffmvr_jax.runtime.flops import traced_flops


def count(function, *shapes, platform="cpu", **options):
  inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  traced = jax.jit(function).trace(*inputs)
  return traced_flops(traced, platform, **options)


def convolve(x, kernel, stride=1):
  return jax.lax.conv_general_dilated(
    *(x, kernel, (stride, stride), "SAME"),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def test_matrix_products():
  assert count(jnp.matmul, (5, 2, 3), (5, 3, 7)) == 5 * 2 * 2 * 3 * 7


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_and_their_gradients(stride):
  forward = 2 * (4 * (8 // stride) ** 2) * 9 * 3 * 5

  def loss(x, kernel):
    return jnp.square(convolve(x, kernel, stride)).sum()

  shapes = (4, 8, 8, 3), (3, 3, 3, 5)
  assert count(loss, *shapes) == forward
  # One product more for each of the two gradients.
  assert count(jax.grad(loss, (0, 1)), *shapes) == 3 * forward


def test_loops_count_as_often_as_they_run():
  def looped(x, y):
    return jax.lax.map(lambda row: row @ y, x)

  assert count(looped, (6, 2, 3), (3, 7)) == 6 * 2 * 2 * 3 * 7


def test_what_is_computed_again_counts_only_if_asked_for():
  @jax.checkpoint
  def block(x, y):
    return jnp.sin(jnp.sin(x @ y) @ y)

  def loss(x, y):
    return block(x, y).sum()

  product = 2 * 4 * 4 * 4
  # Two forward, and two gradients of each; then two again.
  gradient, shapes = jax.grad(loss, (0, 1)), ((4, 4), (4, 4))
  assert count(gradient, *shapes) == 6 * product
  assert count(gradient, *shapes, recomputed=True) == 8 * product


def test_code_for_another_platform_does_not_count():
  def attention(x):
    return attend(x, x, x, 2)

  def doubled(x):
    return jax.lax.platform_dependent(
      x, cpu=lambda x: x @ x @ x, default=lambda x: x @ x
    )

  whole = 2 * 2 * 2048**2 * 16
  for platform in ("cpu", "tpu"):
    assert count(attention, (1, 2048, 16), platform=platform) == whole
  assert count(doubled, (4, 4), platform="cpu") == 2 * 128
  assert count(doubled, (4, 4), platform="gpu") == 128
