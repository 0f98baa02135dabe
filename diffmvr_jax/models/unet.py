"""The latent U-Net of Stable Diffusion, conditioned on guidance branches.

Layer for layer and name for name that of diffusers'
`UNet2DConditionModel`, so that imported weights give the same output; only
the cross-attention has one key and value projection per branch.
"""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float, Int

from diffmvr_jax.config import UNetConfig
from diffmvr_jax.models.attention import Context, SpatialTransformer
from diffmvr_jax.models.kernels.convolution import convolve, convolve_doubled


def timestep_embedding(
  timesteps: Int[Array, " b"], width: int
) -> Float[Array, "b w"]:
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
  def __call__(self, sinusoids: Float[Array, "b s"]) -> Float[Array, "b e"]:
    """Returns embeddings of the given width."""
    x = nn.Dense(self.width, name="linear_1")(sinusoids)
    return nn.Dense(self.width, name="linear_2")(nn.silu(x))


class GroupNormSilu(nn.GroupNorm):
  """SiLU after a GroupNorm, both in float32; only the result is rounded.

  Attributes:
    rounded: what the result is rounded to.
  """

  rounded: Dtype = jnp.float32

  def __call__(
    self,
    x: Float[Array, "b h w c"],
    shift: Float[Array, "b 1 1 c"] | None = None,
  ) -> Float[Array, "b h w c"]:
    """Returns features of the same shape; x is shifted first."""
    x = x.astype(jnp.float32)
    x = super().__call__(x if shift is None else x + shift)
    return nn.silu(x).astype(self.rounded)


def normed_silu(
  x: Float[Array, "b h w c"],
  groups: int,
  epsilon: float,
  dtype: Dtype,
  name: str,
  shift: Float[Array, "b 1 1 c"] | None = None,
) -> Float[Array, "b h w c"]:
  """`GroupNormSilu` of the calling module's; 0 groups: SiLU of x alone."""
  if not groups:
    return nn.silu(x.astype(jnp.float32)).astype(dtype)
  # The gradient makes them again from x: less is written and read.
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
    x: Float[Array, "b h w c"],
    embedding: Float[Array, "b e"] | None = None,
  ) -> Float[Array, "b h w d"]:
    """Returns features with `channels` channels; d is `channels`."""

    def norm(
      name: str, inputs: jax.Array, shift: jax.Array | None = None
    ) -> jax.Array:
      return normed_silu(
        inputs, self.norm_groups, self.epsilon, self.dtype, name, shift
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
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
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
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """Returns features of twice the height and width."""
    return nn.Conv(
      x.shape[-1],
      (3, 3),
      padding=1,
      dtype=self.dtype,
      conv_general_dilated=convolve_doubled,
      name="conv",
    )(x)


class Block(nn.Module):
  """One level of the U-Net, going down or up.

  On the way up each ResNet block first takes one skip from `skips`.
  """

  config: UNetConfig
  channels: int
  heads: int
  layers: int
  attention: bool
  resample: str  # "down", "up" or "none"
  dtype: Dtype = jnp.float32
  remat: str = "none"

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b h w c"],
    skips: list[jax.Array],
    embedding: Float[Array, "b e"],
    context: Context,
    valid: Mapping[str, Float[Array, " b"]],
    *,
    upward: bool,
  ) -> Float[Array, "b i j _"]:
    """Pushes features onto `skips` going down, pops them going up."""
    resnet = rematerialised(ResnetBlock, self.remat)
    transformer = rematerialised(SpatialTransformer, self.remat)
    for i in range(self.layers):
      if upward:
        x = jnp.concatenate([x, skips.pop()], axis=-1)
      x = resnet(
        self.channels,
        self.config.norm_groups,
        dtype=self.dtype,
        name=f"resnets_{i}",
      )(x, embedding)
      if self.attention:
        x = transformer(
          self.config, self.heads, self.dtype, name=f"attentions_{i}"
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
    x: Float[Array, "b h w c"],
    embedding: Float[Array, "b e"],
    context: Context,
    valid: Mapping[str, Float[Array, " b"]],
  ) -> Float[Array, "b h w c"]:
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


def rematerialised(
  module: type[nn.Module], remat: str
) -> Callable[..., nn.Module]:
  """A module that keeps less for its backward pass, see `ModelConfig.remat`."""
  if remat == "none":
    return module
  policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
  return nn.remat(module, policy=policy if remat == "dots" else None)


class UNet(nn.Module):
  """Predicts noise (or v) from noisy latents, timestep and guidance.

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
    sample: Float[Array, "b h w c"],
    timesteps: Int[Array, " b"],
    context: Context,
    valid: Mapping[str, Float[Array, " b"]],
  ) -> Float[Array, "b h w o"]:
    """Runs the network; the output is float32.

    Args:
      sample: noisy latents, with the conditioning channels concatenated.
      timesteps: one per frame, in [0, steps).
      context: by branch, guidance tokens or `keys_and_values` of them.
      valid: 1 where a branch's guidance exists, else 0, by branch.
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
    for i, channels in enumerate(config.block_channels):
      x = Block(
        config,
        channels,
        config.heads[i],
        config.layers_per_block,
        config.attention[i],
        "down" if i < levels - 1 else "none",
        self.dtype,
        self.remat,
        name=f"down_blocks_{i}",
      )(x, skips, embedding, context, valid, upward=False)
    x = MidBlock(config, self.dtype, self.remat, name="mid_block")(
      x, embedding, context, valid
    )
    for i in range(levels):
      level = levels - 1 - i
      x = Block(
        config,
        config.block_channels[level],
        config.heads[level],
        config.layers_per_block + 1,
        config.attention[level],
        "up" if level > 0 else "none",
        self.dtype,
        self.remat,
        name=f"up_blocks_{i}",
      )(x, skips, embedding, context, valid, upward=True)
    x = normed_silu(x, config.norm_groups, 1e-5, self.dtype, "conv_norm_out")
    return nn.Conv(
      config.out_channels,
      (3, 3),
      padding=1,
      kernel_init=nn.initializers.zeros,
      name="conv_out",
    )(x.astype(jnp.float32))
