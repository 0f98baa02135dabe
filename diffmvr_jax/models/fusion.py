"""Fuses other frames into the picture that lies under an occlusion.

Propagation (`data_prep.faces.propagation`) has guessed c, and says from where:
raw pictures I_k of other frames, with the flow f_k that leads to each. The
network may correct all of it. A coarse U-Net on cells of 4 pixels corrects the
flow and the colours,

  J_k = I_k(x + f_k + d tanh(4 o_k / d)) + γ_k m_k + b_k              (a)

with d the largest shift, o_k, γ_k and b_k outputs, and m_k the colour that the
source lacks on the visible surroundings, carried under the mask. Sources are
weighed by how well they fit there, E_k = m_k² likewise carried, and by a fine
stage at half the resolution,

  w_k ∝ q_k exp(l_k / 2) / (√E_k + ε)                                 (b)

with q_k where the source is known. What is painted is

  y = c + 0.8 (1 − s) r (g Σ_k w_k (J_k − c) + g' (S − c) + e)        (c)
  r = min(1, √(mean_k E_k) / τ), or 1 where nobody has seen anything  (d)

with S the symmetric image where there is one, and s the confidence of c: what
is known well changes little, and what is visible not at all. E of formula (d)
is that of the flows as they came: where all sources fit, as in a scene that
stands still, c is right to a grey level, and a network can only spoil it. The
numbers in (b) and (c) are there for the same reason: film, where flow is less
certain than on drawn clips, is better by them. g,
g', l and the residual e (a fine and a coarse one) are outputs of heads that
start at zero: an untrained network gives c. All convolutions are dense ones,
because XLA's CPU backend is a hundred times slower on depthwise ones.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.config import FusionConfig
from diffmvr_jax.models.cell_unet import CellUNet, Residual, convolution
from diffmvr_jax.models.kernels.once import computed_once
from diffmvr_jax.models.sightings import Sightings
from diffmvr_jax.models.warping import (
  carried,
  depth_to_space,
  enlarge,
  pooled,
  space_to_depth,
  warp,
)

_COLOUR = 0.7  # share of the colour's mismatch that is taken at first
_FLOOR = 0.01  # ε of formula (b), for images in [−1, 1]
_MISFIT = 0.08  # τ of formula (d), for images in [−1, 1]
_SHIFT_GAIN = 4.0
_CHOICE, _CHANGE = 0.5, 0.8  # the numbers in formulas (b) and (c)
_PIXELS = 8.0  # flows are divided by it before the network sees them


class Fusion(nn.Module):
  """The network; its output is the whole image, of which the mask counts.

  Example:
    >>> from diffmvr_jax.models.sightings import blank_sightings
    >>> seen = blank_sightings(size=32, sources=4)
    >>> seen = seen.replace(propagated=seen.propagated + 0.25)
    >>> fused, _ = Fusion(FusionConfig()).init_with_output(
    ...   jax.random.key(0), seen)
    >>> float(fused.min()), float(fused.max())
    (0.25, 0.25)
  """

  config: FusionConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, seen: Sightings) -> Float[Array, "n h w 3"]:
    """Formulas (a) to (c)."""
    config, count = self.config, self.config.sources
    size, cell = seen.frame.shape[1], self.config.cell
    flow = _per_source(enlarge, seen.flow, size // seen.flow.shape[2])
    images, known = look(seen, flow)
    lacking = mismatch(seen, images, cell)
    room = enlarge(misfit(seen, lacking[..., -count:]), cell)
    inputs = [
      *(space_to_depth(x, cell) for x in gathered(seen, images, known)),
      _as_channels(_per_source(pooled, flow, cell)) / _PIXELS,
      _everywhere(seen.valid, size // cell),
      _as_features(lacking),
    ]
    cells = CellUNet(config.channels, config.blocks, self.dtype, name="coarse")(
      jnp.concatenate(inputs, -1)
    )
    heads = self._conv(6 * count, "correct", zero=True)(cells)
    shift, bias, gain = jnp.split(heads, [2 * count, 5 * count], -1)
    shift = config.max_shift * jnp.tanh(_SHIFT_GAIN * shift / config.max_shift)
    flow = flow + _as_sources(enlarge(shift, cell), count)
    images, known = look(seen, flow)
    lacking = mismatch(seen, images, cell)
    colour = bias + jnp.repeat(_COLOUR + gain, 3, -1) * lacking[..., :-count]
    images = images + _as_sources(enlarge(colour, cell), count)
    logits, mixed, mirrored, residual = self._fine(seen, images, known, cells)
    paint = self._conv(3 * cell**2, "paint", zero=True)(cells)
    residual = residual + depth_to_space(paint, cell)
    fit = -jnp.log(jnp.sqrt(lacking[..., -count:]) + _FLOOR)
    prior = enlarge(fit, cell) + jnp.log(known + 1e-6)
    weights = jax.nn.softmax(prior + _CHOICE * logits, -1)
    base = seen.propagated
    # No einsum: it would be a product of tiny matrices for each pixel.
    mean = sum(
      weights[..., k, None] * (images[:, k] - base) for k in range(count)
    )
    change = mixed * mean + mirrored * (_mirror(seen) - base) + residual
    room = jnp.where(seen.confidence > 0, room, 1)
    return base + _CHANGE * (1 - seen.confidence) * room * change

  def _fine(
    self,
    seen: Sightings,
    images: Float[Array, "n k h w 3"],
    known: Float[Array, "n h w k"],
    cells: Float[Array, "n i j c"],
  ) -> list[jax.Array]:
    """l, g, g' and the fine part of e, from the sources as corrected."""
    config, by = self.config, self.config.cell // 2
    told = self._conv(config.features, "tell", side=1)(cells)
    inputs = [space_to_depth(x, 2) for x in gathered(seen, images, known)]
    x = self._conv(config.fine_channels, "fine_in", side=1)(
      jnp.concatenate([*inputs, enlarge(told, by)], -1)
    )
    for i in range(config.fine_blocks):
      x = Residual(config.fine_channels, self.dtype, name=f"fine_{i}")(x)
    outputs = 4 * (config.sources + 5)
    x = self._conv(outputs, "fine_out", side=1, zero=True)(nn.silu(x))
    places = [config.sources + i for i in (0, 1, 2)]
    return jnp.split(depth_to_space(x, 2), places, -1)

  def _conv(
    self, channels: int, name: str, *, side: int = 3, zero: bool = False
  ) -> nn.Module:
    if not zero:
      return convolution(channels, side, self.dtype, name=name)
    # Heads cost little and stay in float32.
    start = nn.initializers.zeros
    return convolution(
      channels, side, jnp.float32, name=name, kernel_init=start
    )


def look(
  seen: Sightings, flow: Float[Array, "n k h w 2"]
) -> tuple[Float[Array, "n k h w 3"], Float[Array, "n h w k"]]:
  """The sources at the present pose, and where they show what was seen.

  Elsewhere they are the propagated image.
  """
  every = jnp.concatenate([seen.sources, seen.known], -1)
  warped = computed_once(
    warp,
    every.reshape(-1, *every.shape[2:]),
    flow.reshape(-1, *flow.shape[2:]),
  ).reshape(*flow.shape[:-1], -1)
  known = (warped[..., 3:] > 0.99) * seen.valid[:, :, None, None, None]
  images = jnp.where(known > 0, warped[..., :3], seen.propagated[:, None])
  return images, jnp.moveaxis(known[..., 0], 1, -1)


def mismatch(
  seen: Sightings, images: Float[Array, "n k h w 3"], cell: int
) -> Float[Array, "n i j c"]:
  """What sources lack where they can be compared, carried under the mask.

  Returns:
    For each cell the colours that each source lacks, and then the mean squares
    of these, source by source.
  """
  visible = 1 - seen.mask
  apart = (seen.frame[:, None] - images) * visible[:, None]
  squares = jnp.square(apart).mean(-1, keepdims=True)
  both = jnp.concatenate([_as_channels(apart), _as_channels(squares)], -1)
  share = pooled(visible, cell)
  whole = -nn.max_pool(-share, (3, 3), (1, 1), "SAME")  # not at its very edge
  weight = whole * (whole > 0.99) + 1e-3 * share
  lacking = carried(pooled(both, cell) / jnp.maximum(share, 0.05), weight)
  count = images.shape[1]
  return lacking.at[..., -count:].set(jnp.maximum(lacking[..., -count:], 1e-6))


def misfit(
  seen: Sightings, squares: Float[Array, "n i j k"]
) -> Float[Array, "n i j 1"]:
  """Formula (d), of what each source lacks."""
  there = seen.valid[:, None, None]
  count = jnp.maximum(there.sum(-1, keepdims=True), 1)
  mean = (squares * there).sum(-1, keepdims=True) / count
  return jnp.minimum(1, jnp.sqrt(mean + 1e-9) / _MISFIT)


def gathered(
  seen: Sightings,
  images: Float[Array, "n k h w 3"],
  known: Float[Array, "n h w k"],
) -> list[Float[Array, "n h w _"]]:
  """All that is known of each pixel, most of it relative to c."""
  base = seen.propagated
  there = jnp.broadcast_to(
    seen.symmetric_valid[:, None, None, None], seen.mask.shape
  )
  return [
    (seen.frame - base) * (1 - seen.mask),
    seen.mask,
    base,
    seen.confidence,
    _as_channels(images - base[:, None]),
    known,
    _mirror(seen) - base,
    there,
  ]


def _mirror(seen: Sightings) -> Float[Array, "n h w 3"]:
  there = seen.symmetric_valid[:, None, None, None] > 0
  return jnp.where(there, seen.symmetric, seen.propagated)


def _as_features(lacking: Float[Array, "n i j c"]) -> Float[Array, "n i j c"]:
  """Squares by their logarithm, of about unit size."""
  count = lacking.shape[-1] // 4
  colours, squares = lacking[..., :-count], lacking[..., -count:]
  logarithm = jnp.log(squares + 3e-4) / 4 + 1
  return jnp.concatenate([colours, logarithm], -1)


def _per_source(
  function: Any, x: Float[Array, "n k h w c"], by: int
) -> Float[Array, "n k i j c"]:
  flat = function(x.reshape(-1, *x.shape[2:]), by)
  return flat.reshape(*x.shape[:2], *flat.shape[1:])


def _as_channels(x: Float[Array, "n k h w c"]) -> Float[Array, "n h w _"]:
  batch, count, height, width, channels = x.shape
  x = x.transpose(0, 2, 3, 1, 4)
  return x.reshape(batch, height, width, count * channels)


def _as_sources(
  x: Float[Array, "n h w c"], count: int
) -> Float[Array, "n k h w _"]:
  x = x.reshape(*x.shape[:3], count, -1)
  return x.transpose(0, 3, 1, 2, 4)


def _everywhere(x: Float[Array, "n k"], side: int) -> Float[Array, "n i j k"]:
  batch, channels = x.shape
  shape = (batch, side, side, channels)
  return jnp.broadcast_to(x[:, None, None], shape)
