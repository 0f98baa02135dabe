"""Temporal consistency of a restored clip."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def temporal_consistency(
  frames: Num[Array, "n h w c"], mask: Num[Array, "n h w 1"] | None = None
) -> Float[Array, ""]:
  """TC, the paper's Eq. (E.3): mean squared difference of adjacent frames.

    TC = 1/(N − 1) Σ_t ‖y_{t+1} − y_t‖² / (h · w · 255²)

  Smaller is smoother; the norm sums over colour channels. The paper divides
  by 512² · 255² whatever the size; here it is the true one.

  Args:
    frames: a clip, in [0, 255].
    mask: 1 where pixels count; a pixel counts if either frame marks it, and
      h · w becomes the number of such pixels.

  Returns:
    A scalar; NaN for a clip of one frame, or without a marked pixel.

  Example:
    >>> temporal_consistency(jnp.zeros((4, 8, 8, 3)))
    Array(0., dtype=float32)
  """
  values = frames.astype(jnp.float32) / 255
  squared = jnp.square(values[1:] - values[:-1]).sum(-1, keepdims=True)
  if mask is None:
    return squared.mean()
  marked = jnp.maximum(mask[1:], mask[:-1]).astype(jnp.float32)
  return (squared * marked).sum() / marked.sum()
