"""The latent U-Net of Stable Diffusion, conditioned on context tokens.

Layer for layer and name for name that of diffusers'
`UNet2DConditionModel`, so that imported weights give the same output; only
the cross-attention has one key and value projection per branch.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float, Int

from diffmvr_jax.config import UNetConfig
from diffmvr_jax.models.attention import Context, SpatialTransformer
from diffmvr_jax.models.blocks import (
  Downsample,
  ResnetBlock,
  Upsample,
  normed_silu,
  rematerialised,
)


def timestep_embedding(
  timesteps: Int[Array, " n"], width: int
) -> Float[Array, "n e"]:
  """Sinusoids of the timestep, cosines first, as LDM's.

  Example:
    >>> timestep_embedding(jnp.array([0]), 4)
    Array([[1., 1., 0., 0.]], dtype=float32)
  """
  half = width // 2
  frequencies = jnp.exp(-math.log(10_000) * jnp.arange(half) / half)
  angles = timesteps[:, None].astype(jnp.float32) * frequencies
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeEmbedding(nn.Module):
  """Two linear layers on the timestep's sinusoids."""

  width: int

  @nn.compact
  def __call__(self, sinusoids: Float[Array, "n c"]) -> Float[Array, "n e"]:
    """Returns embeddings of the given width."""
    x = nn.Dense(self.width, name="linear_1")(sinusoids)
    return nn.Dense(self.width, name="linear_2")(nn.silu(x))


class Block(nn.Module):
  """One level of the U-Net, going down or up.

  On the way up each ResNet block first takes one skip from `skips`.
  """

  config: UNetConfig
  level: int  # 0 is the highest resolution
  layers: int
  resample: str  # "down", "up" or "none"
  dtype: Dtype = jnp.float32
  remat: str = "none"

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "n h w c"],
    skips: list[jax.Array],
    embedding: Float[Array, "n e"],
    context: Context,
    valid: Mapping[str, Float[Array, " n"]],
    *,
    upward: bool,
  ) -> Float[Array, "n i j _"]:
    """Pushes features onto `skips` going down, pops them going up."""
    config, level = self.config, self.level
    resnet = rematerialised(ResnetBlock, self.remat)
    transformer = rematerialised(SpatialTransformer, self.remat)
    for i in range(self.layers):
      if upward:
        x = jnp.concatenate([x, skips.pop()], axis=-1)
      x = resnet(
        config.block_channels[level],
        config.norm_groups,
        dtype=self.dtype,
        name=f"resnets_{i}",
      )(x, embedding)
      if config.attention[level]:
        x = transformer(
          config, config.heads[level], self.dtype, name=f"attentions_{i}"
        )(x, context, valid)
      if not upward:
        skips.append(x)
    if self.resample == "down":
      x = Downsample(dtype=self.dtype, name="downsamplers_0")(x)
      skips.append(x)
    elif self.resample == "up":
      x = Upsample(dtype=self.dtype, name="upsamplers_0")(x)
    return x


class MidBlock(nn.Module):
  """ResNet, transformer, ResNet at the lowest resolution."""

  config: UNetConfig
  dtype: Dtype = jnp.float32
  remat: str = "none"

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "n h w c"],
    embedding: Float[Array, "n e"],
    context: Context,
    valid: Mapping[str, Float[Array, " n"]],
  ) -> Float[Array, "n h w c"]:
    """Returns features of the same shape."""

    def resnet(name: str) -> nn.Module:
      return rematerialised(ResnetBlock, self.remat)(
        x.shape[-1], self.config.norm_groups, dtype=self.dtype, name=name
      )

    x = resnet("resnets_0")(x, embedding)
    x = rematerialised(SpatialTransformer, self.remat)(
      self.config, self.config.heads[-1], self.dtype, name="attentions_0"
    )(x, context, valid)
    return resnet("resnets_1")(x, embedding)


class UNet(nn.Module):
  """Predicts noise (or v) from noisy latents, timestep and context tokens.

  Example:
    >>> unet = UNet(UNetConfig())
    >>> branches = unet.config.branches
    >>> context = {name: jnp.zeros((1, 257, 768)) for name in branches}
    >>> valid = {name: jnp.ones(1) for name in branches}
    >>> jax.eval_shape(
    ...   unet.init_with_output, jax.random.key(0), jnp.zeros((1, 64, 64, 9)),
    ...   jnp.zeros(1, int), context, valid)[0].shape
    (1, 64, 64, 4)
  """

  config: UNetConfig
  dtype: Dtype = jnp.float32
  remat: str = "none"

  @nn.compact
  def __call__(
    self,
    sample: Float[Array, "n h w c"],
    timesteps: Int[Array, " n"],
    context: Context,
    valid: Mapping[str, Float[Array, " n"]],
  ) -> Float[Array, "n h w o"]:
    """Runs the network; the output is float32.

    Args:
      sample: noisy latents, with the conditioning channels concatenated.
      timesteps: one per frame, in [0, steps).
      context: context tokens, or their `keys_and_values`, by branch.
      valid: 1 where the branch has a guidance image, else 0, by branch.
    """
    config, levels = self.config, len(self.config.block_channels)
    width = config.block_channels[0]
    # The ends and the embedding cost little and stay in float32.
    embedding = TimeEmbedding(4 * width, name="time_embedding")(
      timestep_embedding(timesteps, width)
    )
    x = nn.Conv(width, (3, 3), padding=1, name="conv_in")(sample)
    x = x.astype(self.dtype)
    skips = [x]
    told = {"embedding": embedding, "context": context, "valid": valid}
    for level in range(levels):
      x = Block(
        config,
        level=level,
        layers=config.layers_per_block,
        resample="down" if level < levels - 1 else "none",
        dtype=self.dtype,
        remat=self.remat,
        name=f"down_blocks_{level}",
      )(x=x, skips=skips, upward=False, **told)
    x = MidBlock(config, self.dtype, self.remat, name="mid_block")(x=x, **told)
    for i, level in enumerate(reversed(range(levels))):
      x = Block(
        config,
        level=level,
        layers=config.layers_per_block + 1,
        resample="up" if level > 0 else "none",
        dtype=self.dtype,
        remat=self.remat,
        name=f"up_blocks_{i}",
      )(x=x, skips=skips, upward=True, **told)
    x = normed_silu(
      x,
      groups=config.norm_groups,
      epsilon=1e-5,
      dtype=self.dtype,
      name="conv_norm_out",
    )
    return nn.Conv(
      config.out_channels,
      (3, 3),
      padding=1,
      kernel_init=nn.initializers.zeros,
      name="conv_out",
    )(x.astype(jnp.float32))
