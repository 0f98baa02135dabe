"""Inception v3 (Szegedy et al. 2016) as FID uses it.

Equal to pytorch-fid's port of the TensorFlow network of 2015: average pools
leave padding out of the mean, and the last block's pool takes the maximum.
Layers are named as in its weights.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from diffmvr_jax.metrics.networks.conv_relu import ConvRelu

INPUT_SIZE = 299  # pixels


class Inception(nn.Module):
  """Features of images: the last pooling's 2048 channels."""

  @nn.compact
  def __call__(self, x: Float[Array, "n 299 299 3"]) -> Float[Array, "n 2048"]:
    """Maps images in [−1, 1] to features."""
    x = _valid(32, 3, 2, "Conv2d_1a_3x3")(x)
    x = _valid(32, 3, 1, "Conv2d_2a_3x3")(x)
    x = _same(64, 3, "Conv2d_2b_3x3")(x)
    x = _max_pool(x)
    x = _same(80, 1, "Conv2d_3b_1x1")(x)
    x = _valid(192, 3, 1, "Conv2d_4a_3x3")(x)
    x = _max_pool(x)
    for name, pooled in (("5b", 32), ("5c", 64), ("5d", 64)):
      x = BlockA(pooled, name=f"Mixed_{name}")(x)
    x = BlockB(name="Mixed_6a")(x)
    for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
      x = BlockC(width, name=f"Mixed_{name}")(x)
    x = BlockD(name="Mixed_7a")(x)
    x = BlockE(name="Mixed_7b")(x)
    x = BlockE(largest=True, name="Mixed_7c")(x)
    return x.mean((1, 2))


class BlockA(nn.Module):
  """1×1, 5×5 and two 3×3 beside a pool of `pooled` channels."""

  pooled: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (n, h, w, c) to (n, h, w, 224 + pooled)."""
    narrow = _same(64, 1, "branch1x1")(x)
    wide = _same(64, 5, "branch5x5_2")(_same(48, 1, "branch5x5_1")(x))
    double = _same(64, 1, "branch3x3dbl_1")(x)
    double = _same(96, 3, "branch3x3dbl_2")(double)
    double = _same(96, 3, "branch3x3dbl_3")(double)
    pool = _same(self.pooled, 1, "branch_pool")(_mean_pool(x))
    return jnp.concatenate([narrow, wide, double, pool], -1)


class BlockB(nn.Module):
  """Halves the size."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (n, h, w, c) to (n, h/2, w/2, 480 + c)."""
    single = _valid(384, 3, 2, "branch3x3")(x)
    double = _same(64, 1, "branch3x3dbl_1")(x)
    double = _same(96, 3, "branch3x3dbl_2")(double)
    double = _valid(96, 3, 2, "branch3x3dbl_3")(double)
    return jnp.concatenate([single, double, _max_pool(x)], -1)


class BlockC(nn.Module):
  """7×7 as 1×7 and 7×1, of `width` channels in between."""

  width: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (n, h, w, c) to (n, h, w, 768)."""
    c = self.width
    narrow = _same(192, 1, "branch1x1")(x)
    single = _same(c, 1, "branch7x7_1")(x)
    single = _same(c, (1, 7), "branch7x7_2")(single)
    single = _same(192, (7, 1), "branch7x7_3")(single)
    double = _same(c, 1, "branch7x7dbl_1")(x)
    double = _same(c, (7, 1), "branch7x7dbl_2")(double)
    double = _same(c, (1, 7), "branch7x7dbl_3")(double)
    double = _same(c, (7, 1), "branch7x7dbl_4")(double)
    double = _same(192, (1, 7), "branch7x7dbl_5")(double)
    pool = _same(192, 1, "branch_pool")(_mean_pool(x))
    return jnp.concatenate([narrow, single, double, pool], -1)


class BlockD(nn.Module):
  """Halves the size again."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (n, h, w, c) to (n, h/2, w/2, 512 + c)."""
    small = _same(192, 1, "branch3x3_1")(x)
    small = _valid(320, 3, 2, "branch3x3_2")(small)
    large = _same(192, 1, "branch7x7x3_1")(x)
    large = _same(192, (1, 7), "branch7x7x3_2")(large)
    large = _same(192, (7, 1), "branch7x7x3_3")(large)
    large = _valid(192, 3, 2, "branch7x7x3_4")(large)
    return jnp.concatenate([small, large, _max_pool(x)], -1)


class BlockE(nn.Module):
  """3×3 as 1×3 beside 3×1; the pool takes the mean, or the `largest`."""

  largest: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (n, h, w, c) to (n, h, w, 2048)."""
    narrow = _same(320, 1, "branch1x1")(x)
    single = _same(384, 1, "branch3x3_1")(x)
    double = _same(448, 1, "branch3x3dbl_1")(x)
    double = _same(384, 3, "branch3x3dbl_2")(double)
    pool = nn.max_pool(x, (3, 3), padding="SAME")
    pool = pool if self.largest else _mean_pool(x)
    return jnp.concatenate(
      [
        narrow,
        _same(384, (1, 3), "branch3x3_2a")(single),
        _same(384, (3, 1), "branch3x3_2b")(single),
        _same(384, (1, 3), "branch3x3dbl_3a")(double),
        _same(384, (3, 1), "branch3x3dbl_3b")(double),
        _same(192, 1, "branch_pool")(pool),
      ],
      -1,
    )


def _same(features: int, kernel: int | tuple[int, int], name: str) -> ConvRelu:
  size = (kernel, kernel) if isinstance(kernel, int) else kernel
  return ConvRelu(features, size, name=name)


def _valid(features: int, kernel: int, stride: int, name: str) -> ConvRelu:
  return ConvRelu(features, (kernel, kernel), stride, "VALID", name=name)


def _max_pool(x: jax.Array) -> jax.Array:
  return nn.max_pool(x, (3, 3), strides=(2, 2))


def _mean_pool(x: jax.Array) -> jax.Array:
  return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
