"""CLIP's vision transformer and its image preprocessing.

Layer for layer that of transformers' `CLIPVisionModelWithProjection`:
pre-normalised blocks, quick-GELU, a class token first.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.config import ClipVisionConfig
from diffmvr_jax.models.attention import attend

# Mean and standard deviation of RGB in [0, 1], from OpenAI's release.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(
  image: Float[Array, "b h w 3"], size: int
) -> Float[Array, "b s s 3"]:
  """Square images in [−1, 1] to CLIP's input: bicubic resize, normalise."""
  shape = (image.shape[0], size, size, 3)
  resized = jax.image.resize((image + 1) / 2, shape, "cubic", antialias=True)
  normalised = jnp.clip(resized, 0, 1) - jnp.asarray(CLIP_MEAN)
  return normalised / jnp.asarray(CLIP_STD)


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """CLIP's approximation of GELU, x·σ(1.702 x)."""
  return x * nn.sigmoid(1.702 * x)


class EncoderLayer(nn.Module):
  """One pre-normalised transformer layer."""

  config: ClipVisionConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
    """Returns tokens of the same shape."""
    width = self.config.width

    def linear(features: int, name: str, inputs: jax.Array) -> jax.Array:
      return nn.Dense(features, dtype=self.dtype, name=name)(inputs)

    hidden = layer_norm(self.dtype, "layer_norm1")(x)
    out = attend(
      linear(width, "q_proj", hidden),
      linear(width, "k_proj", hidden),
      linear(width, "v_proj", hidden),
      self.config.heads,
    )
    x += linear(width, "out_proj", out)
    hidden = layer_norm(self.dtype, "layer_norm2")(x)
    hidden = quick_gelu(linear(self.config.mlp_dim, "fc1", hidden))
    return x + linear(width, "fc2", hidden)


def layer_norm(dtype: Dtype, name: str) -> nn.LayerNorm:
  """CLIP's layer norm."""
  return nn.LayerNorm(
    epsilon=1e-5, use_fast_variance=False, dtype=dtype, name=name
  )


class ClipVision(nn.Module):
  """CLIP's image encoder.

  Example:
    >>> tower = ClipVision(ClipVisionConfig())
    >>> patch, pooled = jax.eval_shape(
    ...   tower.init_with_output, jax.random.key(0),
    ...   jnp.zeros((1, 224, 224, 3)))[0]
    >>> patch.shape, pooled.shape
    ((1, 257, 1024), (1, 768))
  """

  config: ClipVisionConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self, image: Float[Array, "b s s 3"]
  ) -> tuple[Float[Array, "b n c"], Float[Array, "b p"]]:
    """Encodes preprocessed images.

    Returns:
      The last layer's hidden states, class token first, and the projected
      class token.
    """
    config = self.config
    patches = nn.Conv(
      config.width,
      (config.patch_size, config.patch_size),
      strides=config.patch_size,
      padding="VALID",
      use_bias=False,
      dtype=self.dtype,
      name="patch_embedding",
    )(image)
    batch, width = image.shape[0], config.width
    patches = patches.reshape(batch, -1, width)
    init = nn.initializers.normal(0.02)
    token = self.param("class_embedding", init, (width,))
    positions = self.param(
      "position_embedding", init, (patches.shape[1] + 1, width)
    )
    token = jnp.broadcast_to(token, (batch, 1, width)).astype(self.dtype)
    x = jnp.concatenate([token, patches], axis=1)
    x += positions.astype(self.dtype)
    x = layer_norm(self.dtype, "pre_layrnorm")(x)
    for i in range(config.layers):
      x = EncoderLayer(config, self.dtype, name=f"layers_{i}")(x)
    pooled = layer_norm(self.dtype, "post_layernorm")(x[:, 0])
    pooled = nn.Dense(
      config.projection_dim,
      use_bias=False,
      dtype=self.dtype,
      name="visual_projection",
    )(pooled)
    return x, pooled
