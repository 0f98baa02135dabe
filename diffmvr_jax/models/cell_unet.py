"""A small U-Net over cells of pixels, for networks that must be fast on CPUs.

All convolutions are dense ones, because XLA's CPU backend is a hundred times
slower on depthwise ones.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.models.kernels.convolution import convolve
from diffmvr_jax.models.warping import enlarge


class Residual(nn.Module):
  """Two 3×3 convolutions beside a shortcut; starts as the shortcut.

  Attributes:
    channels: features that come in and go out.
    dtype: type that it computes in.
    normed: whether features are scaled to unit size first, which trains faster.
  """

  channels: int
  dtype: Dtype = jnp.float32
  normed: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Returns features of the same shape."""
    y = nn.RMSNorm(dtype=self.dtype, name="norm")(x) if self.normed else x
    hidden = convolution(self.channels, 3, self.dtype, name="conv1")(nn.silu(y))
    start = nn.initializers.zeros
    return x + convolution(
      self.channels, 3, self.dtype, name="conv2", kernel_init=start
    )(nn.silu(hidden))


class CellUNet(nn.Module):
  """A U-Net over cells.

  Attributes:
    channels: width of each level, the finest first.
    blocks: residual blocks of each level on the way down.
    dtype: type that it computes in.
    normed: see `Residual`.
  """

  channels: Sequence[int]
  blocks: Sequence[int]
  dtype: Dtype = jnp.float32
  normed: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, "n i j c"]) -> Float[Array, "n i j d"]:
    """Returns features of each cell."""
    channels, skips = self.channels, []
    x = nn.silu(convolution(channels[0], 1, self.dtype, name="stem")(x))
    for level, (width, blocks) in enumerate(
      zip(channels, self.blocks, strict=True)
    ):
      if level:
        skips.append(x)
        x = nn.Conv(
          width, (2, 2), strides=2, dtype=self.dtype, name=f"down_{level}"
        )(x)
      for i in range(blocks):
        x = Residual(width, self.dtype, self.normed, name=f"down_{level}_{i}")(
          x
        )
    for level in reversed(range(len(channels) - 1)):
      x = convolution(channels[level], 1, self.dtype, name=f"up_{level}")(x)
      x = skips.pop() + enlarge(x, 2)
      x = Residual(
        channels[level], self.dtype, self.normed, name=f"up_{level}_0"
      )(x)
    return nn.silu(x)


def convolution(
  channels: int, side: int, dtype: Dtype, *, name: str, **options: Any
) -> nn.Conv:
  """Returns a convolution that keeps height and width.

  Args:
    channels: features that come out.
    side: of the square kernel.
    dtype: type that it computes in.
    name: name of its parameters.
    options: further attributes of `nn.Conv`.
  """
  return nn.Conv(
    channels,
    (side, side),
    padding=side // 2,
    dtype=dtype,
    conv_general_dilated=convolve,
    name=name,
    **options,
  )
