"""I3D (Carreira and Zisserman 2017) as FVD uses it: Inception v1, inflated.

Layers are named as in the widespread PyTorch port's weights. Three sets of
numerics are in use for FVD, which give different numbers; only numbers of the
same one can be compared:

- TensorFlow Hub's network, and its TorchScript export that StyleGAN-V
  published: resized to 224 px, in [−1, 1], 400 logits averaged over time,
  batch normalisation with ε = 1e-3;
- the PyTorch port's `rgb_imagenet.pt`: the same weights and ε;
- `i3d_pretrained_400.pt` of VideoGPT and TATS: the port with ε = 1e-5.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from diffmvr_jax.metrics.networks.conv_relu import ConvRelu

INPUT_SIZE = 224  # pixels
# Widths of 1×1, of both of the first and second 3×3, and after the pool.
_MIXED = {
  "Mixed_3b": (64, 96, 128, 16, 32, 32),
  "Mixed_3c": (128, 128, 192, 32, 96, 64),
  "Mixed_4b": (192, 96, 208, 16, 48, 64),
  "Mixed_4c": (160, 112, 224, 24, 64, 64),
  "Mixed_4d": (128, 128, 256, 24, 64, 64),
  "Mixed_4e": (112, 144, 288, 32, 64, 64),
  "Mixed_4f": (256, 160, 320, 32, 128, 128),
  "Mixed_5b": (256, 160, 320, 32, 128, 128),
  "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Kernel and stride, in time and in space, of the pools before a block.
_POOLS = {
  "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
  "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
  "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D(nn.Module):
  """Features of videos: the logits of Kinetics' classes."""

  @nn.compact
  def __call__(self, x: Float[Array, "n t 224 224 3"]) -> Float[Array, "n 400"]:
    """Maps videos of at least 9 frames, in [−1, 1], to features."""
    x = ConvRelu(64, (7, 7, 7), 2, name="Conv3d_1a_7x7")(x)
    x = _pool(x, (1, 3, 3), (1, 2, 2))
    x = ConvRelu(64, (1, 1, 1), name="Conv3d_2b_1x1")(x)
    x = ConvRelu(192, (3, 3, 3), name="Conv3d_2c_3x3")(x)
    for name, widths in _MIXED.items():
      if name in _POOLS:
        x = _pool(x, *_POOLS[name])
      x = Mixed(widths, name=name)(x)
    x = nn.avg_pool(x, (2, 7, 7))
    x = nn.Conv(
      400, (1, 1, 1), precision=jax.lax.Precision.HIGHEST, name="logits"
    )(x)
    return x.mean((1, 2, 3))


class Mixed(nn.Module):
  """1×1×1, two 3×3×3 and a pool, side by side."""

  widths: tuple[int, ...]

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps (n, t, h, w, c) to (n, t, h, w, sum of four widths)."""
    w0, w1a, w1b, w2a, w2b, w3 = self.widths
    small, large = (1, 1, 1), (3, 3, 3)
    pool = _pool(x, large, (1, 1, 1))
    return jnp.concatenate(
      [
        ConvRelu(w0, small, name="b0")(x),
        ConvRelu(w1b, large, name="b1b")(ConvRelu(w1a, small, name="b1a")(x)),
        ConvRelu(w2b, large, name="b2b")(ConvRelu(w2a, small, name="b2a")(x)),
        ConvRelu(w3, small, name="b3b")(pool),
      ],
      -1,
    )


def _pool(
  x: jax.Array, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> jax.Array:
  return nn.max_pool(x, kernel, strides=stride, padding="SAME")
