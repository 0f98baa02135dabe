"""Where in another picture of the same face something is found again.

Heads move, so what a picture shows lies a few pixels away in an earlier one.
What covers the face lies nowhere in it. So each place is looked for near the
same place of the other picture, at half the resolution, by the smallest mean
difference of a square of 3×3, and of one of 9×9: the first follows what moves
by itself, as eyelids and lips do, the second is not misled by smooth skin.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffmvr_jax.models.warping import pooled

STEP = 2  # pixels of the picture per place
_SIDES = (3, 9)  # of the squares, in places
_FAR = 2e-3  # what a step away costs, for images in [−1, 1]


def found_again(
  image: Float[Array, "n h w 3"],
  other: Float[Array, "n h w 3"],
  reach: int,
) -> Float[Array, "n i j 12"]:
  """Looks for each place of one picture in another.

  Args:
    image: the pictures, in [−1, 1]; their sides are multiples of `STEP`.
    other: what is searched.
    reach: how far, in places.

  Returns:
    For both sizes of squares: how much the best one differs, in 0 … 2; the
    image without the colours found there; and where it lies, as shares of
    `reach` in y and x.

  Example:
    >>> image = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3))
    >>> found = found_again(image, jnp.roll(image, 4, axis=1), reach=3)
    >>> [round(float(x), 2) for x in found[0, 8, 8, :6]]
    [0.0, 0.0, 0.0, 0.0, 0.67, 0.0]
  """
  image, other = pooled(image, STEP), pooled(other, STEP)
  batch, height, width, _ = image.shape
  margin = (reach, reach)
  other = jnp.pad(other, ((0, 0), margin, margin, (0, 0)), mode="edge")
  # One plane per colour: what is added up then lies side by side in memory.
  ours, theirs = jnp.moveaxis(image, -1, 1), jnp.moveaxis(other, -1, 1)
  across = 2 * reach + 1

  def look(best: list[tuple[Array, Array]], number: Array):
    y, x = number // across, number % across
    there = jax.lax.dynamic_slice(theirs, (0, 0, y, x), ours.shape)
    small = _squares(jnp.abs(ours - there).mean(1), 1)
    costs = small, _squares(small, _SIDES[0])
    steps = jnp.hypot(*(1.0 * (k - reach) for k in (y, x)))
    return [
      (
        jnp.where(cost + _FAR * steps < least, cost + _FAR * steps, least),
        jnp.where(cost + _FAR * steps < least, number, chosen),
      )
      for cost, (least, chosen) in zip(costs, best, strict=True)
    ], None

  plane = (batch, height, width)
  start = jnp.full(plane, jnp.inf), jnp.zeros(plane, jnp.int32)
  best, _ = jax.lax.scan(
    look, [start for _ in _SIDES], jnp.arange(across * across)
  )
  parts = []
  for cost, chosen in best:
    y, x = chosen // across, chosen % across
    away = (jnp.stack([y, x], -1) - reach) / reach
    parts += [cost[..., None], image - _at(other, y, x), away]
  return jnp.concatenate(parts, -1)


def _squares(plane: Float[Array, "n h w"], step: int) -> Float[Array, "n h w"]:
  """The mean of 3×3 values that are `step` apart."""
  _, height, width = plane.shape
  margin = (step, step)
  # Once for both axes: XLA's CPU backend makes a copy each time.
  wide = jnp.pad(plane, ((0, 0), margin, margin), mode="edge")
  places = (0, step, 2 * step)
  columns = sum((wide[:, k : k + height] for k in places), jnp.zeros(()))
  rows = (columns[..., k : k + width] for k in places)
  return sum(rows, jnp.zeros(())) / 9


def _at(
  other: Float[Array, "n k l 3"], y: Int[Array, "n h w"], x: Int[Array, "n h w"]
) -> Float[Array, "n h w 3"]:
  """The colours at y and x beyond each place."""
  height, width = y.shape[1:]
  rows = y + jnp.arange(height)[:, None]
  columns = x + jnp.arange(width)
  return jax.vmap(lambda colours, i, j: colours[i, j])(other, rows, columns)
