"""CLIP's two transformers and its image preprocessing.

Layer for layer those of transformers' `CLIPVisionModelWithProjection` and
`CLIPTextModel`: pre-normalised blocks; the image tower has a class token
first, the text tower looks only back.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float, Int

from diffmvr_jax.config import ClipTextConfig, ClipVisionConfig
from diffmvr_jax.models.attention import attend

# Mean and standard deviation of RGB in [0, 1], from OpenAI's release.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(
  image: Float[Array, "n h w 3"], size: int
) -> Float[Array, "n side side 3"]:
  """Images in [−1, 1] to CLIP's input.

  As transformers' `CLIPImageProcessor`: the shorter side is resized to `size`
  (bicubic, a = −0.5, antialiased), the centre is cropped, RGB is normalised.
  Pillow resizes first along the width and then along the height, and keeps
  8 bits after each; so does this.
  """
  batch, height, width, _ = image.shape
  if height <= width:
    resized = (size, int(size * width / height))
  else:
    resized = (int(size * height / width), size)
  top, left = (resized[0] - size) // 2, (resized[1] - size) // 2
  levels = (image + 1) * 127.5
  for shape in ((height, resized[1]), resized):
    levels = jax.image.resize(
      levels, (batch, *shape, 3), "cubic", antialias=True
    )
    levels = jnp.clip(jnp.round(levels), 0, 255)
  levels = levels[:, top : top + size, left : left + size]
  return (levels / 255 - jnp.asarray(CLIP_MEAN)) / jnp.asarray(CLIP_STD)


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """CLIP's approximation of GELU, x·σ(1.702 x)."""
  return x * nn.sigmoid(1.702 * x)


class EncoderLayer(nn.Module):
  """One pre-normalised transformer layer."""

  heads: int
  mlp_dim: int
  activation: str = "quick_gelu"
  causal: bool = False
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "n k c"]) -> Float[Array, "n k c"]:
    """Returns tokens of the same shape."""
    width = x.shape[-1]

    def linear(features: int, name: str, inputs: jax.Array) -> jax.Array:
      return nn.Dense(features, dtype=self.dtype, name=name)(inputs)

    hidden = layer_norm(self.dtype, "layer_norm1")(x)
    out = attend(
      linear(width, "q_proj", hidden),
      linear(width, "k_proj", hidden),
      linear(width, "v_proj", hidden),
      self.heads,
      causal=self.causal,
    )
    x += linear(width, "out_proj", out)
    hidden = layer_norm(self.dtype, "layer_norm2")(x)
    hidden = linear(self.mlp_dim, "fc1", hidden)
    if self.activation == "quick_gelu":
      hidden = quick_gelu(hidden)
    else:
      hidden = nn.gelu(hidden, approximate=False)
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
    self, image: Float[Array, "n side side 3"]
  ) -> tuple[Float[Array, "n k c"], Float[Array, "n d"]]:
    """Encodes preprocessed images.

    Returns:
      The hidden states of `config.output_layer`, class token first, and the
      projected class token of the last layer.
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
    token = jnp.broadcast_to(token, (batch, 1, width))
    # What the layers add to stays in float32, whatever they compute in.
    x = jnp.concatenate([token, patches], axis=1) + positions
    x = layer_norm(jnp.float32, "pre_layrnorm")(x)
    states = [x]
    for i in range(config.layers):
      x = EncoderLayer(
        config.heads, config.mlp_dim, dtype=self.dtype, name=f"layers_{i}"
      )(x)
      states.append(x)
    pooled = layer_norm(jnp.float32, "post_layernorm")(x[:, 0])
    pooled = nn.Dense(
      config.projection_dim,
      use_bias=False,
      name="visual_projection",
    )(pooled)
    return states[config.output_layer], pooled


class ClipText(nn.Module):
  """CLIP's text encoder, for the prompts of text-guided baselines.

  Example:
    >>> tower = ClipText(ClipTextConfig())
    >>> jax.eval_shape(
    ...   tower.init_with_output, jax.random.key(0), jnp.zeros((1, 77), int)
    ... )[0].shape
    (1, 77, 768)
  """

  config: ClipTextConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, tokens: Int[Array, "n k"]) -> Float[Array, "n k c"]:
    """The normalised hidden states of the last layer."""
    config, init = self.config, nn.initializers.normal(0.02)
    vocabulary = self.param(
      "token_embedding", init, (config.vocabulary, config.width)
    )
    positions = self.param(
      "position_embedding", init, (config.length, config.width)
    )
    x = vocabulary[tokens] + positions[: tokens.shape[1]]
    for i in range(config.layers):
      x = EncoderLayer(
        config.heads,
        config.mlp_dim,
        config.activation,
        causal=True,
        dtype=self.dtype,
        name=f"layers_{i}",
      )(x)
    return layer_norm(jnp.float32, "final_layer_norm")(x)
