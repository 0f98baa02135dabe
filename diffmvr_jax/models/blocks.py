"""Blocks of convolutions that the U-Net and the autoencoder are built from.

Layer for layer and name for name those of diffusers.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.models.kernels.convolution import convolve, convolve_doubled


class GroupNormSilu(nn.GroupNorm):
  """SiLU after a GroupNorm, both in float32; only the result is rounded.

  Attributes:
    rounded: type that the result is rounded to.
  """

  rounded: Dtype = jnp.float32

  def __call__(
    self,
    x: Float[Array, "n h w c"],
    shift: Float[Array, "n 1 1 c"] | None = None,
  ) -> Float[Array, "n h w c"]:
    """Returns features of the same shape; x is shifted first."""
    x = x.astype(jnp.float32)
    x = super().__call__(x if shift is None else x + shift)
    return nn.silu(x).astype(self.rounded)


def normed_silu(
  x: Float[Array, "n h w c"],
  *,
  groups: int,
  epsilon: float,
  dtype: Dtype,
  name: str,
  shift: Float[Array, "n 1 1 c"] | None = None,
) -> Float[Array, "n h w c"]:
  """A `GroupNormSilu` of the calling module; with 0 groups, SiLU alone."""
  if not groups:
    return nn.silu(x.astype(jnp.float32)).astype(dtype)
  # The gradient computes both again from x: less is written and read.
  norm = nn.remat(GroupNormSilu)(
    groups, epsilon=epsilon, use_fast_variance=False, rounded=dtype, name=name
  )
  return norm(x, shift)


class ResnetBlock(nn.Module):
  """Two normalised 3×3 convolutions around the timestep embedding.

  `conv2` starts at zero, so that the block starts as its shortcut.
  """

  channels: int
  norm_groups: int
  epsilon: float = 1e-5
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "n h w c"],
    embedding: Float[Array, "n e"] | None = None,
  ) -> Float[Array, "n h w o"]:
    """Returns features with `channels` channels."""

    def norm(
      name: str, inputs: jax.Array, shift: jax.Array | None = None
    ) -> jax.Array:
      return normed_silu(
        inputs,
        groups=self.norm_groups,
        epsilon=self.epsilon,
        dtype=self.dtype,
        name=name,
        shift=shift,
      )

    hidden = nn.Conv(
      self.channels,
      (3, 3),
      padding=1,
      dtype=self.dtype,
      conv_general_dilated=convolve,
      name="conv1",
    )(norm("norm1", x))
    shift = None
    if embedding is not None:
      shift = nn.Dense(self.channels, name="time_emb_proj")(nn.silu(embedding))
      shift = shift[:, None, None, :]
    hidden = nn.Conv(
      self.channels,
      (3, 3),
      padding=1,
      kernel_init=nn.initializers.zeros,
      dtype=self.dtype,
      conv_general_dilated=convolve,
      name="conv2",
    )(norm("norm2", hidden, shift))
    if x.shape[-1] != self.channels:
      x = nn.Conv(
        self.channels,
        (1, 1),
        dtype=self.dtype,
        conv_general_dilated=convolve,
        name="conv_shortcut",
      )(x)
    return x + hidden


class Downsample(nn.Module):
  """Halves height and width with a strided convolution."""

  padding: tuple[int, int] = (1, 1)
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n i j c"]:
    """Pads (before, after) by `padding` on both axes, then strides by 2."""
    return nn.Conv(
      x.shape[-1],
      (3, 3),
      strides=2,
      padding=(self.padding, self.padding),
      dtype=self.dtype,
      name="conv",
    )(x)


class Upsample(nn.Module):
  """Doubles height and width: nearest neighbour, then a convolution."""

  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n i j c"]:
    """Returns features of twice the height and width."""
    return nn.Conv(
      x.shape[-1],
      (3, 3),
      padding=1,
      dtype=self.dtype,
      conv_general_dilated=convolve_doubled,
      name="conv",
    )(x)


def rematerialised(
  module: type[nn.Module], remat: str
) -> Callable[..., nn.Module]:
  """A module that keeps less for its backward pass, see `ModelConfig.remat`."""
  if remat == "none":
    return module
  policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
  return nn.remat(module, policy=policy if remat == "dots" else None)
