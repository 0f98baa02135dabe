"""Moving pixels: bilinear warps, and pixels as channels."""

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float


def warp(
  image: Float[Array, "n h w c"], flow: Float[Array, "n h w 2"]
) -> Float[Array, "n h w c"]:
  """Looks up each pixel where its flow points.

  Args:
    image: what is looked at.
    flow: (x, y) in pixels, from the result to `image`. What lies outside is
      the nearest pixel of the border.

  Example:
    >>> image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> warp(image, jnp.ones((1, 4, 4, 2)))[0, 0, :, 0]
    Array([5., 6., 7., 7.], dtype=float32)
  """
  _, height, width, channels = image.shape
  x = jnp.clip(jnp.arange(width) + flow[..., 0], 0, width - 1)
  y = jnp.clip(jnp.arange(height)[:, None] + flow[..., 1], 0, height - 1)
  left = jnp.minimum(jnp.floor(x), width - 2).astype(jnp.int32)
  top = jnp.minimum(jnp.floor(y), height - 2).astype(jnp.int32)
  right, below = (x - left)[..., None], (y - top)[..., None]
  pixels = image.reshape(-1, height * width, channels)

  def look(pixels: jax.Array, at: jax.Array) -> jax.Array:
    return pixels[at]

  corner = top * width + left
  upper, lower = (
    jax.vmap(look)(pixels, start) * (1 - right)
    + jax.vmap(look)(pixels, start + 1) * right
    for start in (corner, corner + width)
  )
  return upper * (1 - below) + lower * below


def enlarge(x: Float[Array, "n h w c"], by: int) -> Float[Array, "n i j c"]:
  """More pixels, bilinearly.

  Example:
    >>> enlarge(jnp.ones((1, 2, 3, 4)), 2).shape
    (1, 4, 6, 4)
  """
  batch, height, width, channels = x.shape
  shape = (batch, height * by, width * by, channels)
  return jax.image.resize(x, shape, "bilinear")


def pooled(x: Float[Array, "n h w c"], by: int) -> Float[Array, "n i j c"]:
  """The mean of each square of `by` × `by` pixels."""
  batch, height, width, channels = x.shape
  squares = x.reshape(batch, height // by, by, width // by, by, channels)
  return squares.mean((2, 4))


def space_to_depth(
  x: Float[Array, "n h w c"], by: int
) -> Float[Array, "n i j _"]:
  """Each square of `by` × `by` pixels as the channels of one."""
  return rearrange(x, "n (h p) (w q) c -> n h w (p q c)", p=by, q=by)


def depth_to_space(
  x: Float[Array, "n i j c"], by: int
) -> Float[Array, "n h w _"]:
  """Undoes `space_to_depth`.

  Example:
    >>> x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    >>> bool((depth_to_space(space_to_depth(x, 2), 2) == x).all())
    True
  """
  return rearrange(x, "n h w (p q c) -> n (h p) (w q) c", p=by, q=by)


def carried(
  values: Float[Array, "n h w c"], weight: Float[Array, "n h w 1"]
) -> Float[Array, "n h w c"]:
  """Fills what has no weight from what is near, coarser scale by scale.

  Example:
    >>> ones = jnp.ones((1, 4, 4, 1))
    >>> round(float(carried(3 * ones, ones.at[:, 2:].set(0)).min()), 3)
    3.0
  """
  sums, weights = [values * weight], [weight]
  while min(sums[-1].shape[1:3]) > 2 and not (
    sums[-1].shape[1] % 2 or sums[-1].shape[2] % 2
  ):
    sums.append(pooled(sums[-1], 2))
    weights.append(pooled(weights[-1], 2))
  total = sums[-1].sum((1, 2), keepdims=True)
  mean = total / (weights[-1].sum((1, 2), keepdims=True) + 1e-6)
  filled = jnp.broadcast_to(mean, sums[-1].shape)
  for level in reversed(range(len(sums))):
    if level < len(sums) - 1:
      filled = enlarge(filled, 2)
    share = jnp.minimum(4 * weights[level], 1)
    own = sums[level] / jnp.maximum(weights[level], 1e-6)
    filled = share * own + (1 - share) * filled
  return filled
