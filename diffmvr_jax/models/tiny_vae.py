"""The tiny autoencoders of the TAESD family (madebyollin/taesd).

Plain 3×3 convolutions and ReLU, in one numbered list of layers per half, as
in diffusers' `AutoencoderTiny`; activations and upsampling have numbers too.
Latents need no scaling. In TAEF2 the blocks of the lowest resolution have a
1×1 branch, whose GroupNorm sees the whole image.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.config import AutoencoderConfig
from diffmvr_jax.models.kernels.convolution import convolve_doubled


class Block(nn.Module):
  """Three convolutions with a shortcut; ReLU after each and after the sum."""

  pooled: bool = False
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Returns features of the same shape."""
    channels = x.shape[-1]
    if self.pooled:
      x += self._pool(x)
    hidden = nn.relu(conv(channels, self.dtype, "conv_0")(x))
    hidden = nn.relu(conv(channels, self.dtype, "conv_2")(hidden))
    return nn.relu(x + conv(channels, self.dtype, "conv_4")(hidden))

  def _pool(self, x: jax.Array) -> jax.Array:
    def pointwise(channels: int, name: str, inputs: jax.Array) -> jax.Array:
      layer = nn.Conv(
        channels, (1, 1), use_bias=False, dtype=self.dtype, name=name
      )
      return layer(inputs)

    norm = nn.GroupNorm(
      4,
      epsilon=1e-5,
      use_fast_variance=False,
      dtype=self.dtype,
      name="pool_1",
    )
    channels = x.shape[-1]
    wide = nn.relu(norm(pointwise(4 * channels, "pool_0", x)))
    return pointwise(channels, "pool_3", wide)


def conv(
  channels: int,
  dtype: Dtype,
  name: str,
  *,
  stride: int = 1,
  bias: bool = True,
  operation: Callable = jax.lax.conv_general_dilated,
) -> nn.Conv:
  """A 3×3 convolution of the calling module."""
  return nn.Conv(
    channels,
    (3, 3),
    strides=stride,
    padding=1,
    use_bias=bias,
    dtype=dtype,
    conv_general_dilated=operation,
    name=name,
  )


class TinyEncoder(nn.Module):
  """Image to latents."""

  config: AutoencoderConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, image: Float[Array, "n h w 3"]) -> Float[Array, "n i j l"]:
    """Takes images in [−1, 1]."""
    config, levels = self.config, len(self.config.block_channels)
    x = conv(config.block_channels[0], self.dtype, "layers_0")((image + 1) / 2)
    x = Block(dtype=self.dtype, name="layers_1")(x)
    layer = 2
    for level, channels in enumerate(config.block_channels[1:], start=1):
      down = conv(channels, self.dtype, f"layers_{layer}", stride=2, bias=False)
      x, layer = down(x), layer + 1
      pooled = config.pooled_blocks and level == levels - 1
      for _ in range(config.layers_per_block):
        x = Block(pooled, self.dtype, name=f"layers_{layer}")(x)
        layer += 1
    return conv(config.latent_channels, jnp.float32, f"layers_{layer}")(
      x.astype(jnp.float32)
    )


class TinyDecoder(nn.Module):
  """Latents to image."""

  config: AutoencoderConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self, latents: Float[Array, "n i j l"]
  ) -> Float[Array, "n h w 3"]:
    """Returns images in about [−1, 1], not clipped; latents saturate at 3."""
    config, channels = self.config, self.config.block_channels[::-1]
    x = 3 * jnp.tanh(latents / 3)
    x = nn.relu(conv(channels[0], self.dtype, "layers_0")(x))
    layer = 2
    for level, width in enumerate(channels[:-1]):
      pooled = config.pooled_blocks and level == 0
      for _ in range(config.layers_per_block):
        x = Block(pooled, self.dtype, name=f"layers_{layer}")(x)
        layer += 1
      up = conv(
        width,
        self.dtype,
        f"layers_{layer + 1}",
        bias=False,
        operation=convolve_doubled,
      )
      x = up(x)
      layer += 2
    x = Block(dtype=self.dtype, name=f"layers_{layer}")(x)
    x = conv(3, jnp.float32, f"layers_{layer + 1}")(x.astype(jnp.float32))
    return 2 * x - 1


class TinyAutoencoder(nn.Module):
  """Encoder and decoder, with the interface of `Autoencoder`.

  Example:
    >>> config = AutoencoderConfig(
    ...   family="tiny", block_channels=(64,) * 4, layers_per_block=3)
    >>> vae = TinyAutoencoder(config)
    >>> jax.eval_shape(
    ...   vae.init_with_output, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    ... )[0].shape
    (1, 64, 64, 3)
  """

  config: AutoencoderConfig
  dtype: Dtype = jnp.float32

  def setup(self):
    """Builds the two halves."""
    self.encoder = TinyEncoder(self.config, self.dtype)
    self.decoder = TinyDecoder(self.config, self.dtype)

  def encode(
    self, image: Float[Array, "n h w 3"]
  ) -> tuple[Float[Array, "n i j l"], Float[Array, "n i j l"]]:
    """Returns the latents and, as they are no distribution, log-variance −30.

    That is where `Autoencoder` clips it, a deviation of 3e-7.
    """
    latents = self.encoder(image)
    return latents, jnp.full_like(latents, -30.0)

  def decode(self, latents: Float[Array, "n i j l"]) -> Float[Array, "n h w 3"]:
    """Returns the image of latents."""
    return self.decoder(latents)

  def __call__(self, image: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    """Round trip."""
    return self.decode(self.encode(image)[0])
