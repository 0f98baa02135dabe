"""3×3 convolution with 4/9 of the arithmetic (Lavin and Gray 2015, §4.1).

Winograd's minimal filtering: a kernel g and a tile d of 4×4 inputs that
begins at every second row and column give 2×2 outputs,

  Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A                                      (a)

where along one axis

  Bᵀ d = (d₀ − d₂,  d₁ + d₂,  d₂ − d₁,  d₁ − d₃)                      (b)
  G g  = (g₀,  (g₀ + g₁ + g₂)/2,  (g₀ − g₁ + g₂)/2,  g₂)              (c)
  Aᵀ m = (m₀ + m₁ + m₂,  m₁ − m₂ − m₃)                                (d)

Over all tiles and channels, ⊙ is 16 matrix products.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Tiles × (channels in + out) of one strip: 16 float32 of each, 256 MiB.
_STRIP = 2**22

_Vector = Sequence[jax.Array]
_Matrix = Sequence[_Vector]


def winograd_convolution(
  inputs: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c o"]
) -> Float[Array, "n h w o"]:
  """Convolves with zeros around; in float32 to about 1e-6.

  What the tiles take is not kept for the gradient but made again. Large maps
  go through in strips of rows.

  Args:
    inputs: feature maps; height and width are even.
    kernel: weights.

  Example:
    >>> kernel = jnp.ones((3, 3, 2, 8)) / (9 * 2)
    >>> y = winograd_convolution(jnp.ones((1, 6, 4, 2)), kernel)
    >>> y.shape, round(float(y[0, 1, 1, 0]), 3)
    ((1, 6, 4, 8), 1.0)
  """
  batch, height, width, channels = inputs.shape
  padded = jnp.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
  row = width * (channels + kernel.shape[-1]) // 4
  if batch * height * row <= _STRIP:
    return _convolve_strip(padded, kernel)
  rows = height
  while rows % 4 == 0 and rows * row > _STRIP:
    rows //= 2
  strips = jnp.stack(
    [padded[:, i : i + rows + 2] for i in range(0, height, rows)], axis=1
  )
  outputs = jax.lax.map(
    lambda strip: _convolve_strip(strip, kernel),
    strips.reshape(-1, 1, rows + 2, width + 2, channels),
  )
  return outputs.reshape(batch, height, width, -1)


@jax.checkpoint
def _convolve_strip(
  padded: Float[Array, "n i j c"], kernel: Float[Array, "3 3 c o"]
) -> Float[Array, "n h w o"]:
  """Formula (a), without padding."""
  batch, height, width, _ = padded.shape
  height, width = height - 2, width - 2
  # [i][j]: what is at row i and column j, in the tile or in the kernel.
  tiles = [
    [padded[:, i : i + height - 1 : 2, j : j + width - 1 : 2] for j in range(4)]
    for i in range(4)
  ]
  weights = [[kernel[i, j] for j in range(3)] for i in range(3)]
  products = [
    [_times(one, other) for one, other in zip(*pair, strict=True)]
    for pair in zip(
      _along_both(_inputs, tiles), _along_both(_weights, weights), strict=True
    )
  ]
  outputs = _along_both(_outputs, products)
  woven = jnp.stack([jnp.stack(row, axis=3) for row in outputs], axis=2)
  return woven.reshape(batch, height, width, -1)


def _times(inputs: jax.Array, weights: jax.Array) -> jax.Array:
  """In two dimensions: with four, XLA's gradients are slower."""
  product = inputs.reshape(-1, inputs.shape[-1]) @ weights
  return product.reshape(*inputs.shape[:-1], -1)


def _along_both(transform: Callable[[_Vector], _Vector], x: _Matrix) -> _Matrix:
  columns = [transform(column) for column in zip(*x, strict=True)]
  return [transform(row) for row in zip(*columns, strict=True)]


def _inputs(d: _Vector) -> _Vector:
  """Formula (b)."""
  return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _weights(g: _Vector) -> _Vector:
  """Formula (c)."""
  outer = g[0] + g[2]
  return g[0], (outer + g[1]) / 2, (outer - g[1]) / 2, g[2]


def _outputs(m: _Vector) -> _Vector:
  """Formula (d)."""
  return m[0] + m[1] + m[2], m[1] - m[2] - m[3]
