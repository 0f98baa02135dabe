"""PSNR and SSIM, over whole frames or inside a mask.

Frames are in [0, 255]. "Inside" means: averaged over the mask's pixels only.
"""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

_WINDOW, _SIGMA = 11, 1.5


def psnr(
  prediction: Num[Array, "n h w c"],
  target: Num[Array, "n h w c"],
  mask: Num[Array, "n h w 1"] | None = None,
) -> Float[Array, " n"]:
  """Peak signal-to-noise ratio in dB, per frame.

  Args:
    prediction: frames in [0, 255].
    target: true frames in [0, 255].
    mask: 1 where pixels count; None counts all. A frame without any gives
      NaN, an exact one infinity.

  Example:
    >>> psnr(jnp.zeros((1, 2, 2, 3)), jnp.full((1, 2, 2, 3), 255.0))
    Array([0.], dtype=float32)
  """
  difference = prediction.astype(jnp.float32) - target.astype(jnp.float32)
  squared = jnp.square(difference).mean(-1, keepdims=True)
  return 10 * jnp.log10(255**2 / _average(squared, mask))


def ssim(
  prediction: Num[Array, "n h w c"],
  target: Num[Array, "n h w c"],
  mask: Num[Array, "n h w 1"] | None = None,
) -> Float[Array, " n"]:
  """Structural similarity (Wang et al. 2004), per frame.

  An 11×11 Gaussian of σ 1.5, K1 0.01, K2 0.03, population covariance; the
  mean leaves out the 5 border pixels, where the window would be cut. Equals
  scikit-image's `structural_similarity` with those settings.

  Args:
    prediction: frames in [0, 255], at least 11×11.
    target: true frames of the same size.
    mask: 1 where pixels count; None counts all.
  """
  x = prediction.astype(jnp.float32)
  y = target.astype(jnp.float32)
  c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
  # E[x²] − E[x]² loses digits at 255²; a shift by the middle keeps them.
  x0, y0 = x - 128, y - 128
  mean_x, mean_y = _blur(x0), _blur(y0)
  variance_x = _blur(x0 * x0) - mean_x**2
  variance_y = _blur(y0 * y0) - mean_y**2
  covariance = _blur(x0 * y0) - mean_x * mean_y
  mean_x, mean_y = mean_x + 128, mean_y + 128
  similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
  similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
  if mask is not None:
    border = _WINDOW // 2
    mask = mask[:, border:-border, border:-border]
  return _average(similarity.mean(-1, keepdims=True), mask)


def _blur(x: jax.Array) -> jax.Array:
  """Gaussian window means, without padding.

  Sums of shifted images: XLA's convolutions of one channel are many times
  slower on a CPU.
  """
  offsets = np.arange(_WINDOW) - _WINDOW // 2
  kernel = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
  kernel /= kernel.sum()
  for axis in (1, 2):
    length = x.shape[axis] - _WINDOW + 1
    shifted = [
      float(weight) * jax.lax.slice_in_dim(x, i, i + length, axis=axis)
      for i, weight in enumerate(kernel)
    ]
    x = reduce(jnp.add, shifted)
  return x


def _average(values: jax.Array, mask: jax.Array | None) -> jax.Array:
  if mask is None:
    return values.mean((1, 2, 3))
  weight = mask.astype(jnp.float32)
  return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
