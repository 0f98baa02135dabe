"""Convolutions that are also fast on a CPU.

At the U-Net's lowest resolutions a 3×3 convolution has more weights than
positions. XLA's CPU backend then spends its time rearranging the weights, and
in the backward pass their gradient as well. As one matrix product over the
unfolded input, with the weights lying as they are, it takes a third of that.
A 1×1 convolution always is such a product. Elsewhere, with enough channels,
Winograd's transforms save more than they cost (`winograd`).

After every pixel has become a square of four, a 3×3 convolution sees at most
2×2 different pixels x. Along one axis, with weights w, the output is

  y[2i]     = w₀ x[i−1] + (w₁ + w₂) x[i]                              (a)
  y[2i + 1] = (w₀ + w₁) x[i] + w₂ x[i+1]                              (b)

so that four products with 2×2 weights do with 4/9 of the arithmetic.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffmvr_jax.models.kernels.winograd import winograd_convolution

_FEW_POSITIONS, _MANY_CHANNELS = 128, 512  # for one matrix product
# For Winograd's transforms: channels, and positions times channels. Of small
# maps, the transform of the weights costs more than it saves.
_WINOGRAD_CHANNELS, _WINOGRAD_LEAST = 128, 2**16


def convolve(
  inputs: Float[Array, "n h w c"],
  kernel: Float[Array, "side side c o"],
  strides: Any,
  padding: Any,
  **options: Any,
) -> Float[Array, "n h w o"]:
  """Takes the place of `lax.conv_general_dilated` in `nn.Conv` layers.

  Args:
    inputs: feature maps.
    kernel: weights; `side` is 1 or 3.
    strides: all 1, as `nn.Conv` passes them.
    padding: such that height and width stay, likewise.
    options: further ones of `lax.conv_general_dilated`.

  Example:
    >>> kernel = jnp.ones((3, 3, 512, 8)) / (9 * 512)
    >>> options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    >>> y = convolve(
    ...   jnp.ones((1, 4, 4, 512)), kernel, (1, 1), ((1, 1), (1, 1)), **options)
    >>> round(float(y[0, 1, 1, 0]), 3)
    1.0
  """

  def directly(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
      inputs, kernel, strides, padding, **options
    )

  batch, height, width, channels = inputs.shape
  positions = batch * height * width
  few = positions <= _FEW_POSITIONS
  if kernel.shape[:2] == (1, 1) or (few and channels >= _MANY_CHANNELS):
    on_cpu = _unfolded
  elif (
    height % 2 == width % 2 == 0
    and min(kernel.shape[2:]) >= _WINOGRAD_CHANNELS
    and positions * channels >= _WINOGRAD_LEAST
    and inputs.dtype == jnp.float32
  ):
    on_cpu = winograd_convolution
  else:
    return directly(inputs, kernel)
  return jax.lax.platform_dependent(
    inputs, kernel, cpu=on_cpu, default=directly
  )


def double(x: Float[Array, "n h w c"]) -> Float[Array, "n i j c"]:
  """Every pixel as a square of four.

  Example:
    >>> double(jnp.ones((1, 4, 6, 3))).shape
    (1, 8, 12, 3)
  """
  return x.repeat(2, axis=1).repeat(2, axis=2)


def convolve_doubled(
  inputs: Float[Array, "n h w c"],
  kernel: Float[Array, "3 3 c o"],
  strides: Any,
  padding: Any,
  **options: Any,
) -> Float[Array, "n i j o"]:
  """Convolves what `double` makes of the inputs; else like `convolve`.

  Example:
    >>> kernel = jnp.ones((3, 3, 2, 8)) / (9 * 2)
    >>> options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    >>> y = convolve_doubled(
    ...   jnp.ones((1, 4, 4, 2)), kernel, (1, 1), ((1, 1), (1, 1)), **options)
    >>> y.shape, round(float(y[0, 1, 1, 0]), 3)
    ((1, 8, 8, 8), 1.0)
  """

  def directly(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
      double(inputs), kernel, strides, padding, **options
    )

  return jax.lax.platform_dependent(
    inputs, kernel, cpu=_doubled, default=directly
  )


def _unfolded(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
  margin = (kernel.shape[0] // 2, kernel.shape[0] // 2)
  return _product(jnp.pad(inputs, ((0, 0), margin, margin, (0, 0))), kernel)


def _product(padded: jax.Array, kernel: jax.Array) -> jax.Array:
  """The convolution, without padding, as one matrix product."""
  rows, columns, _, channels = kernel.shape
  batch, height, width, _ = padded.shape
  height, width = height - rows + 1, width - columns + 1
  unfolded = jnp.concatenate(
    [
      padded[:, i : i + height, j : j + width]
      for i in range(rows)
      for j in range(columns)
    ],
    axis=-1,
  )
  matrix = kernel.reshape(-1, channels)
  product = unfolded.reshape(-1, matrix.shape[0]) @ matrix
  return product.reshape(batch, height, width, channels)


def _doubled(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
  batch, height, width, _ = inputs.shape
  padded = jnp.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
  # Of even and odd outputs: of rows, and in each of these of columns.
  outputs = [
    [
      _product(padded[:, p : p + height + 1, q : q + width + 1], weights)
      for q, weights in enumerate(_even_and_odd(half, axis=1))
    ]
    for p, half in enumerate(_even_and_odd(kernel, axis=0))
  ]
  woven = jnp.stack([jnp.stack(row, axis=3) for row in outputs], axis=2)
  return woven.reshape(batch, 2 * height, 2 * width, -1)


def _even_and_odd(kernel: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
  """The two weights of formulas (a) and (b), in place of three."""
  first, middle, last = jnp.split(kernel, 3, axis)
  return (
    jnp.concatenate([first, middle + last], axis),
    jnp.concatenate([first + middle, last], axis),
  )
