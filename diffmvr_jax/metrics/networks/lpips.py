"""LPIPS 0.1 (Zhang et al. 2018) with AlexNet.

  d(x, y) = Σ_l mean_hw w_l · (x̂_l − ŷ_l)²                              (a)

x̂_l are AlexNet's activations, of unit length along channels.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Num

from diffmvr_jax.metrics.networks.conv_relu import ConvRelu

# Of the ImageNet statistics, for images in [−1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPS = 1e-10
WIDTHS = (64, 192, 384, 256, 256)


class AlexNet(nn.Module):
  """Krizhevsky 2014, without its classifier; layers are torchvision's."""

  @nn.compact
  def __call__(self, x: Float[Array, "n h w 3"]) -> list[jax.Array]:
    """The activations after each of the five ReLUs."""
    x1 = ConvRelu(64, (11, 11), 4, 2, name="features_0")(x)
    x2 = ConvRelu(192, (5, 5), 1, 2, name="features_3")(_pool(x1))
    x3 = ConvRelu(384, (3, 3), 1, 1, name="features_6")(_pool(x2))
    x4 = ConvRelu(256, (3, 3), 1, 1, name="features_8")(x3)
    x5 = ConvRelu(256, (3, 3), 1, 1, name="features_10")(x4)
    return [x1, x2, x3, x4, x5]


class Lpips(nn.Module):
  """Formula (a), or its terms averaged over a mask at the images' size."""

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "n h w 3"],
    y: Float[Array, "n h w 3"],
    mask: Num[Array, "n h w 1"],
  ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Distances of images in [−1, 1], at least 64 px: whole, and in the mask.

    The distance in an empty mask is NaN.
    """
    features = AlexNet(name="alexnet")
    normalised = [(i - jnp.array(_SHIFT)) / jnp.array(_SCALE) for i in (x, y)]
    whole = jnp.zeros(len(x))
    field = jnp.zeros((*x.shape[:3], 1))
    for i, (a, b) in enumerate(zip(*map(features, normalised), strict=True)):
      weight = self.param(f"lin{i}", nn.initializers.ones, (WIDTHS[i],))
      terms = (jnp.square(_unit(a) - _unit(b)) * weight).sum(-1, keepdims=True)
      whole += terms.mean((1, 2, 3))
      field += jax.image.resize(terms, field.shape, "linear")
    inside = (field * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
    return whole, inside


def _unit(x: jax.Array) -> jax.Array:
  return x / (jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) + _EPS)


def _pool(x: jax.Array) -> jax.Array:
  return nn.max_pool(x, (3, 3), strides=(2, 2))
