"""f_mlp: from the encodings of a guidance image to context tokens.

One module serves both branches, as in the paper. CLIP's tokens carry meaning,
latents carry detail; either or both can be used.
"""

import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.config import GuidanceConfig
from diffmvr_jax.models.attention import position_code


class GuidanceTokens(nn.Module):
  """Linear, GELU, linear, LayerNorm on CLIP's tokens; patches of latents join.

  Example:
    >>> import jax
    >>> f_mlp = GuidanceTokens(GuidanceConfig(), context_dim=768)
    >>> tokens, null = f_mlp.init_with_output(
    ...   jax.random.key(0), jnp.zeros((2, 257, 1024)), None)[0]
    >>> tokens.shape, null.shape
    ((2, 257, 768), (768,))
  """

  config: GuidanceConfig
  context_dim: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    clip: Float[Array, "n k c"] | None,
    latents: Float[Array, "n i j l"] | None,
  ) -> tuple[Float[Array, "n _ d"], Float[Array, " d"]]:
    """Maps the encodings of guidance images to context tokens.

    Args:
      clip: CLIP's tokens, if the configuration uses them.
      latents: scaled latents, if the configuration uses them.

    Returns:
      Context tokens, and the learned null token that stands in where a frame
      has no guidance image at all.
    """
    tokens = []
    if clip is not None:
      hidden = nn.Dense(
        self.config.hidden_dim, dtype=self.dtype, name="linear_1"
      )(clip)
      hidden = nn.gelu(hidden, approximate=False)
      hidden = nn.Dense(self.context_dim, dtype=self.dtype, name="linear_2")(
        hidden
      )
      tokens.append(self._norm("norm")(hidden))
    if latents is not None:
      patch = self.config.latent_patch
      height, width = latents.shape[1] // patch, latents.shape[2] // patch
      patches = rearrange(
        latents, "b (h p) (w q) c -> b (h w) (p q c)", p=patch, q=patch
      )
      hidden = nn.Dense(
        self.context_dim, dtype=self.dtype, name="latent_linear"
      )(patches)
      hidden += position_code(height, width, self.context_dim)
      tokens.append(self._norm("latent_norm")(hidden))
    null = self.param(
      "null_token", nn.initializers.normal(0.02), (self.context_dim,)
    )
    return jnp.concatenate(tokens, axis=1), null

  def _norm(self, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(
      epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name=name
    )
