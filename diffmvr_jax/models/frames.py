"""Windows as images and back, and what the values of an image are."""

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Shaped, UInt8

from diffmvr_jax.runtime.mesh import spread_frames


def to_float(image: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
  """uint8 in [0, 255] to float32 in [−1, 1]."""
  return image.astype(jnp.float32) / 127.5 - 1


def to_uint8(image: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
  """Float in [−1, 1] to uint8, clipped and rounded."""
  scaled = jnp.round((image + 1) * 127.5)
  return jnp.clip(scaled, 0, 255).astype(jnp.uint8)


def flatten_frames(x: Shaped[Array, "b f *s"]) -> Shaped[Array, "n *s"]:
  """Merges batch and frame; a mesh that splits windows splits the result."""
  return spread_frames(x.reshape(-1, *x.shape[2:]))


def split_frames(
  x: Shaped[Array, "n *s"], frames: int
) -> Shaped[Array, "b f *s"]:
  """Undoes `flatten_frames`."""
  return rearrange(x, "(b f) ... -> b f ...", f=frames)
