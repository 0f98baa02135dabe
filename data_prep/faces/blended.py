"""Blends the sources of a covered frame, and tells how sure the result is.

The numbers of equations are those of `propagation`.
"""

import cv2
import numpy as np

from data_prep.faces.carried import Source, mean_square, painted_smoothly
from data_prep.faces.flow import enlarge, planes
from data_prep.faces.propagated import Propagated
from data_prep.faces.sightings import Picture

_ERROR = 14.0  # grey levels of expected error that take confidence to 1/e
_STEPS = 60.0  # frames in the chain that do


def blended(
  covered: np.ndarray, now: Picture, sources: dict[str, Source]
) -> tuple[Propagated, Picture, np.ndarray]:
  """Equation (1).

  Args:
    covered: (h, w) uint8, 1 where the frame is covered.
    now: the frame.
    sources: by their name; they may be none.

  Returns:
    The propagated frame; the frame to remember, painted over; and (i, j)
    float32, the flow steps since its pixels were seen, at the flow's scale.
  """
  image = now.image
  if not covered.any():
    result = Propagated(
      image=image.copy(),
      valid=np.ones_like(covered),
      confidence=np.ones(covered.shape, np.float32),
    )
    return result, now, np.zeros(now.grey.shape, np.float32)
  total = np.zeros(now.grey.shape, np.float32)
  for source in sources.values():
    total += source.weight
  known = total > 0
  shares = {k: s.weight / (total + 1e-20) for k, s in sources.items()}
  small = np.zeros(now.small.shape, np.float32)
  for name, share in shares.items():
    small += planes(share) * sources[name].small
  left, top, width, height = cv2.boundingRect(covered)
  box = (left, top, width, height)
  part = np.s_[top : top + height, left : left + width]
  filling = _filling(shares, sources, box, image.shape)
  holes = enlarge((~known).astype(np.float32), image.shape[1::-1], box)
  if holes.any():
    seen = np.maximum(now.visible, known)[..., None].astype(np.float32)
    paint = painted_smoothly(
      np.where(now.visible[..., None] > 0, now.small, small), seen
    )
    # Enlarged shares have the rest of the weight already.
    filling += holes[..., None] * enlarge(paint, image.shape[1::-1], box)
  out = image.copy()
  out[part] = np.where(
    covered[part][..., None] > 0, np.clip(filling.round(), 0, 255), out[part]
  )
  valid = 1 - covered
  valid[part] |= (holes < 0.5).astype(np.uint8)
  steps = np.zeros_like(total)
  for name, share in shares.items():
    steps += share * sources[name].steps
  confidence = _confidence(shares, sources, small, steps, now)
  sure = np.ones(covered.shape, np.float32)
  sure[part] = np.where(
    covered[part] > 0,
    enlarge(confidence, image.shape[1::-1], box) * valid[part],
    1,
  )
  result = Propagated(image=out, valid=valid, confidence=sure)
  shrunk = cv2.resize(out, now.grey.shape[::-1], interpolation=cv2.INTER_AREA)
  # Copies, since the caller may write to the result.
  now = now.painted(
    shrunk,
    image=out.copy(),
    valid=valid.copy(),
    known=np.maximum(now.visible, known.astype(np.float32)),
  )
  return result, now, np.where(now.visible > 0, np.float32(0), steps)


def _filling(
  shares: dict[str, np.ndarray],
  sources: dict[str, Source],
  box: tuple[int, int, int, int],
  shape: tuple[int, ...],
) -> np.ndarray:
  """The weighted mean of sources within a box, (height, width, 3)."""
  size = (shape[1], shape[0])
  filling = np.zeros((box[3], box[2], 3), np.float32)
  for name, share in shares.items():
    if share.any():
      carried = sources[name].within(box, size)
      filling += planes(enlarge(share, size, box)) * carried
  return filling


def _confidence(
  shares: dict[str, np.ndarray],
  sources: dict[str, Source],
  mean: np.ndarray,
  steps: np.ndarray,
  now: Picture,
) -> np.ndarray:
  """exp(−√(misfit + disagreement) / s − steps / s'), (i, j) float32."""
  expected = np.zeros(now.grey.shape, np.float32)
  for name, share in shares.items():
    source = sources[name]
    apart = mean_square(source.small - mean)
    expected += share * (source.error + apart)
  return np.exp(-np.sqrt(expected) / _ERROR - steps / _STEPS)
