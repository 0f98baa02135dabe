"""Attention of the latent U-Net, with twin cross-attention.

Twin cross-attention (DiffMVR): one query attends to the tokens of each
guidance image through that image's own keys and values,

  A_i     = softmax(Q K_iᵀ / √d) V_i,      i ∈ {symmetric, past}   (a)
  A_fused = α1 A_1 + α2 A_2                                        (b)

and `to_out` projects A_fused. A single branch (the ablations, or text) is the
same code with one name in `branches`. Parameter names follow diffusers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.config import UNetConfig
from diffmvr_jax.models.kernels.blockwise import (
  blockwise_attention,
  headwise_attention,
)
from diffmvr_jax.models.kernels.cudnn import cudnn_attention, cudnn_takes

# Keys and values of a branch, by layer; every layer has its own width.
KeysValues = dict[str, tuple[Float[Array, "_ _ _"], Float[Array, "_ _ _"]]]
# By branch: context tokens, or the keys and values that were made of them.
Context = Mapping[str, Float[Array, "n _ d"] | KeysValues]

# Scores per head from which a CPU is faster one head at a time.
_BLOCKWISE_FROM = 2**16


def attend(
  query: Float[Array, "n q c"],
  key: Float[Array, "n k c"],
  value: Float[Array, "n k c"],
  heads: int,
  *,
  causal: bool = False,
) -> Float[Array, "n q c"]:
  """Scaled dot-product attention over `heads`; the softmax is in float32."""

  def split(x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:-1], heads, -1)

  heads_apart = (split(query), split(key), split(value))
  if causal:
    out = jax.nn.dot_product_attention(*heads_apart, is_causal=True)
  elif query.shape[1] * key.shape[1] < _BLOCKWISE_FROM:
    out = jax.nn.dot_product_attention(*heads_apart)
  else:
    kernels: dict[str, Callable] = {"cpu": headwise_attention}
    if cudnn_takes(heads_apart[0]):
      kernels["cuda"] = cudnn_attention
    out = jax.lax.platform_dependent(
      *heads_apart, **kernels, default=blockwise_attention
    )
  return out.reshape(query.shape)


def position_code(height: int, width: int, channels: int) -> np.ndarray:
  """Sine-cosine code of a grid, (height · width, channels), rows first.

  Frequency k is π 2^(k/4) per image side, whatever the resolution, so like
  places in grids of different resolutions have like codes.

  Example:
    >>> position_code(2, 3, 8).shape
    (6, 8)
  """
  frequencies = np.pi * 2 ** (np.arange(channels // 4) / 4)
  rows = (np.arange(height) + 0.5) / height
  columns = (np.arange(width) + 0.5) / width
  grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))
  y, x = grid.reshape(2, -1, 1) * frequencies
  waves = np.stack([np.sin(y), np.cos(y), np.sin(x), np.cos(x)], axis=-1)
  code = waves.reshape(height * width, -1).astype(np.float32)
  return np.pad(code, ((0, 0), (0, channels % 4)))


class SelfAttention(nn.Module):
  """Multi-head self-attention, as SD's `attn1`."""

  heads: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n q c"]) -> Float[Array, "n q c"]:
    """Mixes the positions of each image."""
    width = x.shape[-1]

    def linear(name: str) -> jax.Array:
      return nn.Dense(width, use_bias=False, dtype=self.dtype, name=name)(x)

    out = attend(linear("to_q"), linear("to_k"), linear("to_v"), self.heads)
    return nn.Dense(width, dtype=self.dtype, name="to_out_0")(out)


class TwinCrossAttention(nn.Module):
  """Cross-attention over one or more branches, formulas (a) and (b).

  Attributes:
    branches: names of the branches; each has its own `to_k_NAME` and
      `to_v_NAME`.
    alpha: the branches' weights α.
    learned_alpha: α is a parameter of this layer, initialised with `alpha`.
  """

  heads: int
  branches: tuple[str, ...]
  alpha: tuple[float, ...]
  learned_alpha: bool = False
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "n q c"],
    context: Context,
    valid: Mapping[str, Float[Array, " n"]],
  ) -> Float[Array, "n q c"]:
    """Attends from x to each branch's context tokens and fuses the results.

    Args:
      x: image features.
      context: context tokens, or their `keys_and_values`, by branch.
      valid: 1 where the branch has a guidance image, else 0, by branch.
    """
    width = x.shape[-1]

    def linear(name: str, inputs: jax.Array) -> jax.Array:
      layer = nn.Dense(width, use_bias=False, dtype=self.dtype, name=name)
      return layer(inputs)

    def key_and_value(branch: str) -> tuple[jax.Array, jax.Array]:
      given = context[branch]
      if isinstance(given, dict):  # they were made once for all steps
        return given["/".join(self.path)]
      return linear(f"to_k_{branch}", given), linear(f"to_v_{branch}", given)

    alpha = jnp.asarray(self.alpha, jnp.float32)
    if self.learned_alpha:
      alpha = self.param("alpha", lambda _: alpha)
    weights = branch_weights(
      alpha, jnp.stack([valid[branch] for branch in self.branches], axis=-1)
    )
    query = linear("to_q", x)
    fused = jnp.zeros_like(query)
    for i, branch in enumerate(self.branches):
      attended = attend(query, *key_and_value(branch), self.heads)
      fused += weights[:, i, None, None].astype(query.dtype) * attended
    return nn.Dense(width, dtype=self.dtype, name="to_out_0")(fused)


def keys_and_values(
  unet: Mapping[str, Any],
  branch: str,
  tokens: Float[Array, "n k d"],
  dtype: Dtype,
) -> KeysValues:
  """Keys and values that a U-Net's cross-attentions make of context tokens.

  They stay the same over all sampling steps, and from window to window for as
  long as the guidance image does.

  Args:
    unet: parameters of the U-Net.
    branch: name of the branch.
    tokens: context tokens of the branch's guidance images.
    dtype: what the U-Net computes in.
  """
  kernels: dict[str, Any] = dict(
    traverse_util.flatten_dict(dict(unet), sep="/")
  )
  tokens = tokens.astype(dtype)
  ending = f"/to_k_{branch}/kernel"
  return {
    (layer := path.removesuffix(ending)): (
      tokens @ kernel.astype(dtype),
      tokens @ kernels[f"{layer}/to_v_{branch}/kernel"].astype(dtype),
    )
    for path, kernel in kernels.items()
    if path.endswith(ending)
  }


def branch_weights(
  alpha: Float[Array, " branch"], valid: Float[Array, "n branch"]
) -> Float[Array, "n branch"]:
  """α, with the share of missing branches handed evenly to those present.

  If no branch is present, α stays as it is: every context token is then the
  null token. Nothing is divided by α, so a learned α may pass through zero.

  Example:
    >>> branch_weights(jnp.array([0.25, 0.75]), jnp.array([[1.0, 0.0]]))
    Array([[1., 0.]], dtype=float32)
  """
  present = valid.sum(-1, keepdims=True)
  missing_share = (alpha * (1 - valid)).sum(-1, keepdims=True)
  moved = valid * (alpha + missing_share / jnp.maximum(present, 1))
  return jnp.where(present > 0, moved, alpha)


class GatedLinear(nn.Module):
  """A linear layer, half of whose output gates the other half: GEGLU.

  Each half is a product of its own, so that their gradients need not be joined.
  """

  width: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n q c"]) -> Float[Array, "n q o"]:
    """Returns `width` channels."""
    shape = (x.shape[-1], 2 * self.width)
    kernel = self.param("kernel", nn.linear.default_kernel_init, shape)
    bias = self.param("bias", nn.initializers.zeros, shape[1:])
    x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
    hidden, gate = (x @ half for half in jnp.split(kernel, 2, axis=-1))
    return _gated(hidden, gate, bias)


@jax.checkpoint  # its float32 arrays are not kept for the gradient
def _gated(hidden: jax.Array, gate: jax.Array, bias: jax.Array) -> jax.Array:
  """Adds the bias, and multiplies with the gate's exact (erf) GELU."""
  shift, gate_shift = jnp.split(bias, 2)
  gate = gate.astype(jnp.float32) + gate_shift
  gate *= 0.5 * (1 + jax.lax.erf(gate * 2**-0.5))
  return ((hidden.astype(jnp.float32) + shift) * gate).astype(hidden.dtype)


class FeedForward(nn.Module):
  """GEGLU feed-forward, as PyTorch's."""

  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n q c"]) -> Float[Array, "n q c"]:
    """Widens fourfold, gates, and projects back."""
    width = x.shape[-1]
    gated = GatedLinear(4 * width, self.dtype, name="net_0_proj")(x)
    return nn.Dense(width, dtype=self.dtype, name="net_2")(gated)


class TransformerBlock(nn.Module):
  """Self-attention, twin cross-attention and feed-forward, pre-normalised."""

  config: UNetConfig
  heads: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "n q c"],
    context: Context,
    valid: Mapping[str, Float[Array, " n"]],
    position: Float[Array | np.ndarray, "q c"] | None,
  ) -> Float[Array, "n q c"]:
    """One block.

    Args:
      x: image features.
      context: as in `TwinCrossAttention`.
      valid: as in `TwinCrossAttention`.
      position: code that is added to the queries of the cross-attention.
    """
    config = self.config

    def norm(name: str) -> jax.Array:
      layer = nn.remat(nn.LayerNorm)(
        epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name=name
      )
      return layer(x)

    x += SelfAttention(self.heads, self.dtype, name="attn1")(norm("norm1"))
    query = norm("norm2")
    if position is not None:
      query += position.astype(query.dtype)
    x += TwinCrossAttention(
      heads=self.heads,
      branches=config.branches,
      alpha=config.alpha,
      learned_alpha=config.alpha_mode == "learned",
      dtype=self.dtype,
      name="attn2",
    )(query, context, valid)
    return x + FeedForward(self.dtype, name="ff")(norm("norm3"))


class SpatialTransformer(nn.Module):
  """A transformer block over the positions of a feature map (GroupNorm 1e-6).

  `proj_out` starts at zero, so that the layer starts as the identity.
  """

  config: UNetConfig
  heads: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "n h w c"],
    context: Context,
    valid: Mapping[str, Float[Array, " n"]],
  ) -> Float[Array, "n h w c"]:
    """Adds what the block computes to the feature map."""
    batch, height, width, channels = x.shape
    position = None
    if self.config.query_position:
      position = position_code(height, width, channels)
    tokens = nn.remat(nn.GroupNorm)(
      self.config.norm_groups,
      epsilon=1e-6,
      use_fast_variance=False,
      dtype=self.dtype,
      name="norm",
    )(x).reshape(batch, -1, channels)
    # A 1×1 convolution and a linear layer are one thing on tokens; the two
    # differ only in how PyTorch stores the weight, which the key table knows.
    tokens = nn.Dense(channels, dtype=self.dtype, name="proj_in")(tokens)
    tokens = TransformerBlock(
      self.config, self.heads, self.dtype, name="transformer_blocks_0"
    )(x=tokens, context=context, valid=valid, position=position)
    tokens = nn.Dense(
      channels,
      kernel_init=nn.initializers.zeros,
      dtype=self.dtype,
      name="proj_out",
    )(tokens)
    return x + tokens.reshape(x.shape)
