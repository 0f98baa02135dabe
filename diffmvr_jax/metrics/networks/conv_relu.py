"""Convolution and ReLU, in two or three dimensions.

Batch normalisation of a trained network is an affine map, and is folded into
the convolution when weights are read.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn


class ConvRelu(nn.Module):
  """A convolution with bias, and ReLU.

  Attributes:
    features: number of output channels.
    kernel: size along each axis.
    stride: step along every axis.
    padding: "SAME" as TensorFlow has it, "VALID", or pixels on every side.
  """

  features: int
  kernel: Sequence[int]
  stride: int = 1
  padding: str | int = "SAME"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (n, …, c) to (n, …, features)."""
    x = nn.Conv(
      self.features,
      self.kernel,
      strides=self.stride,
      padding=self.padding,
      precision=jax.lax.Precision.HIGHEST,
      name="conv",
    )(x)
    return nn.relu(x)
