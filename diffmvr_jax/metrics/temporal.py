"""How a restored clip moves."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

_PRINTED_SIDE = 512  # pixels, in the divisor of Eq. (E.3)


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


def with_printed_divisor(tc: float, height: int, width: int) -> float:
  """TC with Eq. (E.3)'s printed divisor, 512² · 255², for frames of any size.

  Example:
    >>> with_printed_divisor(0.5, 256, 256)
    0.125
  """
  return tc * (height * width) / _PRINTED_SIDE**2


def warping_error(
  frames: Num[Array, "n h w c"],
  flow: Float[Array, "p h w 2"],
  visible: Num[Array, "p h w 1"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """E_warp of Lai et al. 2018, as a sum and its weight; p is n − 1.

  The frame before is moved along the flow, with bilinear sampling.

  Args:
    frames: a clip, in [0, 255].
    flow: from each frame but the first to the one before, as (x, y) in pixels.
    visible: 1 where a pixel counts.

  Returns:
    The squared differences, in [0, 1], averaged over channels and summed over
    visible pixels; and the number of these.
  """
  values = frames.astype(jnp.float32) / 255
  moved = jax.vmap(_sample)(values[:-1], flow)
  squared = jnp.square(values[1:] - moved).mean(-1, keepdims=True)
  weight = visible.astype(jnp.float32)
  return (squared * weight).sum(), weight.sum()


def _sample(
  image: Float[Array, "h w c"], flow: Float[Array, "h w 2"]
) -> Float[Array, "h w c"]:
  height, width, _ = image.shape
  y, x = jnp.mgrid[:height, :width]
  places = [y + flow[..., 1], x + flow[..., 0]]
  return jax.vmap(
    lambda plane: jax.scipy.ndimage.map_coordinates(
      plane, places, order=1, mode="nearest"
    ),
    in_axes=-1,
    out_axes=-1,
  )(image)
