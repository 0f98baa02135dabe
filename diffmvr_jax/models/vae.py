"""The KL autoencoder of latent diffusion, as diffusers' `AutoencoderKL`.

GroupNorm epsilon is 1e-6 throughout and the downsampler pads only after.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.config import AutoencoderConfig
from diffmvr_jax.models.attention import attend
from diffmvr_jax.models.blocks import (
  Downsample,
  ResnetBlock,
  Upsample,
  normed_silu,
)


class MidAttention(nn.Module):
  """Single-head self-attention over all positions."""

  norm_groups: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Adds what attention gathers to the feature map."""
    width = x.shape[-1]
    tokens = nn.GroupNorm(
      self.norm_groups,
      epsilon=1e-6,
      use_fast_variance=False,
      dtype=self.dtype,
      name="group_norm",
    )(x).reshape(x.shape[0], -1, width)

    def linear(name: str, inputs: jax.Array) -> jax.Array:
      return nn.Dense(width, dtype=self.dtype, name=name)(inputs)

    out = attend(
      linear("to_q", tokens), linear("to_k", tokens), linear("to_v", tokens), 1
    )
    return x + linear("to_out_0", out).reshape(x.shape)


class MidBlock(nn.Module):
  """ResNet, optional attention, ResNet at the lowest resolution."""

  config: AutoencoderConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Returns features of the same shape."""
    groups = self.config.norm_groups
    x = resnet(self.config, x.shape[-1], self.dtype, "resnets_0")(x)
    if self.config.mid_attention:
      x = MidAttention(groups, self.dtype, name="attentions_0")(x)
    return resnet(self.config, x.shape[-1], self.dtype, "resnets_1")(x)


class Level(nn.Module):
  """The ResNet blocks of one resolution, then a change of resolution."""

  config: AutoencoderConfig
  channels: int
  layers: int
  resample: str  # "down", "up" or "none"
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n i j o"]:
    """Returns features with `channels` channels."""
    for i in range(self.layers):
      x = resnet(self.config, self.channels, self.dtype, f"resnets_{i}")(x)
    if self.resample == "down":
      x = Downsample((0, 1), self.dtype, name="downsamplers_0")(x)
    elif self.resample == "up":
      x = Upsample(self.dtype, name="upsamplers_0")(x)
    return x


def resnet(
  config: AutoencoderConfig, channels: int, dtype: Dtype, name: str
) -> ResnetBlock:
  """A ResNet block with the autoencoder's epsilon."""
  return ResnetBlock(
    channels, config.norm_groups, epsilon=1e-6, dtype=dtype, name=name
  )


class Encoder(nn.Module):
  """Image to the mean and log-variance of its latents."""

  config: AutoencoderConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, image: Float[Array, "n h w 3"]) -> Float[Array, "n i j o"]:
    """Returns the means, then the log-variances, along the channels."""
    channels, config = self.config.block_channels, self.config
    x = _conv(channels[0], jnp.float32, "conv_in")(image)
    for i, width in enumerate(channels):
      resample = "down" if i < len(channels) - 1 else "none"
      x = Level(
        config,
        channels=width,
        layers=config.layers_per_block,
        resample=resample,
        dtype=self.dtype,
        name=f"down_blocks_{i}",
      )(x)
    x = MidBlock(config, self.dtype, name="mid_block")(x)
    x = _out(config, x, self.dtype)
    return _conv(2 * config.latent_channels, jnp.float32, "conv_out")(x)


class Decoder(nn.Module):
  """Latents to image."""

  config: AutoencoderConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self, latents: Float[Array, "n i j l"]
  ) -> Float[Array, "n h w 3"]:
    """Returns images in about [−1, 1], not clipped."""
    channels, config = self.config.block_channels[::-1], self.config
    x = _conv(channels[0], jnp.float32, "conv_in")(latents)
    x = MidBlock(config, self.dtype, name="mid_block")(x)
    for i, width in enumerate(channels):
      resample = "up" if i < len(channels) - 1 else "none"
      x = Level(
        config,
        channels=width,
        layers=config.layers_per_block + 1,
        resample=resample,
        dtype=self.dtype,
        name=f"up_blocks_{i}",
      )(x)
    x = _out(config, x, self.dtype)
    return _conv(3, jnp.float32, "conv_out")(x)


def _conv(channels: int, dtype: Dtype, name: str) -> nn.Conv:
  return nn.Conv(channels, (3, 3), padding=1, dtype=dtype, name=name)


def _out(config: AutoencoderConfig, x: jax.Array, dtype: Dtype) -> jax.Array:
  return normed_silu(
    x,
    groups=config.norm_groups,
    epsilon=1e-6,
    dtype=dtype,
    name="conv_norm_out",
  )


def _quiet_bias(key: jax.Array, shape: tuple, dtype: Dtype) -> jax.Array:
  """Starts at a deviation of e⁻³, so that noise does not drown the code."""
  mean = jnp.zeros(shape[0] // 2, dtype)
  return jnp.concatenate([mean, mean - 6])


class Autoencoder(nn.Module):
  """Encoder and decoder with their 1×1 convolutions on the latents.

  Latents here are unscaled; `DiffMVR` multiplies by `scaling_factor`.

  Example:
    >>> vae = Autoencoder(AutoencoderConfig())
    >>> jax.eval_shape(
    ...   vae.init_with_output, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    ... )[0].shape
    (1, 64, 64, 3)
  """

  config: AutoencoderConfig
  dtype: Dtype = jnp.float32

  def setup(self):
    """Builds the four parts."""
    latent = self.config.latent_channels
    self.encoder = Encoder(self.config, self.dtype)
    self.decoder = Decoder(self.config, self.dtype)
    self.quant_conv = nn.Conv(2 * latent, (1, 1), bias_init=_quiet_bias)
    self.post_quant_conv = nn.Conv(latent, (1, 1))

  def encode(
    self, image: Float[Array, "n h w 3"]
  ) -> tuple[Float[Array, "n i j l"], Float[Array, "n i j l"]]:
    """Returns mean and log-variance (in [−30, 20]) of the latents."""
    moments = self.quant_conv(self.encoder(image))
    mean, log_variance = jnp.split(moments, 2, axis=-1)
    return mean, jnp.clip(log_variance, -30.0, 20.0)

  def decode(self, latents: Float[Array, "n i j l"]) -> Float[Array, "n h w 3"]:
    """Returns the image of unscaled latents."""
    return self.decoder(self.post_quant_conv(latents))

  def __call__(self, image: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    """Round trip through the mean latents."""
    return self.decode(self.encode(image)[0])
