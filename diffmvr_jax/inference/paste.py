"""Pastes a restored crop into its source frame.

A pixel whose feathered mask is 0 keeps the source's value, exactly.
"""

from functools import lru_cache

import cv2
import numpy as np

# Standard deviation of the feather, as a share of the crop's side.
SOFTNESS = 1 / 80
# Towards what is covered beyond the crop a restoration fades: around the face,
# over this share of the circle's radius that touches the crop's sides; and
# where the mask crosses the border, over this share of the crop's side.
_FADE = 0.3
_AWAY = 0.35


def feather(mask: np.ndarray, softness: float = SOFTNESS) -> np.ndarray:
  """Softens a mask outwards: it is 1 on the mask and falls to 0 beyond it.

  Args:
    mask: (h, w) uint8, 1 on the occlusion.
    softness: standard deviation of the fall, as a share of the longer side.

  Returns:
    (h, w) float32 in [0, 1].

  Example:
    >>> float(feather(np.zeros((8, 8), np.uint8)).max())
    0.0
  """
  if softness == 0:
    return mask.astype(np.float32)
  sigma = max(0.5, softness * max(mask.shape))
  radius = int(np.ceil(2 * sigma))
  kernel = cv2.getStructuringElement(
    cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)
  )
  # The blur of the grown mask is 1 on the mask, and 0 beyond two radii.
  grown = cv2.dilate(mask, kernel).astype(np.float32)
  size = (2 * radius + 1, 2 * radius + 1)
  soft = cv2.GaussianBlur(grown, size, sigma, borderType=cv2.BORDER_REPLICATE)
  return np.maximum(soft, mask.astype(np.float32))


def composite(
  source: np.ndarray, restored: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
  """Blends `restored` over `source`; if alpha is 0, the source is kept.

  Args:
    source: (h, w, 3) uint8.
    restored: (h, w, 3) uint8.
    alpha: (h, w) float32 in [0, 1].
  """
  change = cv2.subtract(restored, source, dtype=cv2.CV_32F)
  change *= cv2.merge([alpha, alpha, alpha])
  # Rounds, and keeps to the range.
  return cv2.add(source, change, dtype=cv2.CV_8U)


def paste(
  source: np.ndarray,
  crop: np.ndarray,
  transform: np.ndarray,
  alpha: np.ndarray,
) -> np.ndarray:
  """Puts a restored crop into its frame; if alpha is 0, the source is kept.

  Args:
    source: (h, w, 3) uint8 frame.
    crop: (s, s, 3) uint8, the restored crop.
    transform: (2, 3) map from source to crop pixels.
    alpha: (h, w) float32, as `placed_mask` returns it.

  Returns:
    (h, w, 3) uint8.
  """
  left, top, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
  if not width:
    return source
  part = np.s_[top : top + height, left : left + width]
  # The map from the part's pixels: the part's corner comes first.
  to_crop = transform.astype(np.float64)
  to_crop[:, 2] += to_crop[:, :2] @ (left, top)
  placed = cv2.warpAffine(
    crop,
    to_crop,
    (width, height),
    flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
    borderMode=cv2.BORDER_REPLICATE,
  )
  pasted = source.copy()
  pasted[part] = composite(source[part], placed, alpha[part])
  return pasted


def placed_mask(
  mask: np.ndarray,
  transform: np.ndarray,
  shape: tuple[int, int],
  softness: float = SOFTNESS,
  known: np.ndarray | None = None,
) -> np.ndarray:
  """Returns how much of each pixel of the frame is replaced.

  Args:
    mask: (s, s) uint8, 1 on the occlusion.
    transform: (2, 3) map from source to crop pixels.
    shape: height and width of the frame.
    softness: softness of the feather, see `feather`.
    known: (s, s) uint8, 0 where the frame's pixels are kept, since nothing is
      known of what is behind; None if something is known everywhere.

  Returns:
    (h, w) float32 in [0, 1]. If the crop's border cuts through the mask, it
    fades out inside the crop.
  """
  soft = feather(mask, softness) * border_fade(mask)
  if known is not None:
    soft *= kept_where_unseen(known, softness)
  return placed_map(np.clip(soft, 0, 1), transform, shape)


def kept_where_unseen(known: np.ndarray, softness: float) -> np.ndarray:
  """Returns (h, w) weights: 0 where nothing is known, 1 away from there."""
  if known.all():
    return np.ones(known.shape, np.float32)
  return 1 - feather((known == 0).astype(np.uint8), softness)


def placed_map(
  values: np.ndarray, transform: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
  """Moves a map of the crop, such as a mask, to the frame; 0 outside."""
  return cv2.warpAffine(
    values,
    transform,
    (shape[1], shape[0]),
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
  )


def border_fade(mask: np.ndarray) -> np.ndarray:
  """Returns how much of a crop is replaced near its border.

  The part of a mask that goes on beyond the crop stays as it was filmed, and
  towards it the restoration fades. Where the border is free, only a thin rim
  does.

  Args:
    mask: (s, s) uint8, 1 on the occlusion.

  Returns:
    (s, s) float32: 1 inside, 0 at the border.
  """
  size = len(mask)
  rim, near_face = _rim(size), _near_face(size)
  border = np.ones_like(mask)
  border[1:-1, 1:-1] = 0
  crossing = mask * border
  if not crossing.any():
    return rim.copy()
  away = cv2.distanceTransform(1 - crossing, cv2.DIST_L2, cv2.DIST_MASK_5)
  return np.minimum(rim, np.maximum(near_face, _smooth(away / size / _AWAY)))


@lru_cache(maxsize=8)
def _rim(size: int) -> np.ndarray:
  """(s, s) float32, 0 at the border of a crop, and soon 1."""
  distance = np.minimum(np.arange(size), np.arange(size)[::-1])
  ramp = np.clip(distance / max(1, size // 24), 0, 1).astype(np.float32)
  return np.minimum(ramp[:, None], ramp[None, :])


@lru_cache(maxsize=8)
def _near_face(size: int) -> np.ndarray:
  """(s, s) float32, 1 around the face and 0 beyond the crop's circle."""
  y, x = np.mgrid[:size, :size].astype(np.float32) - (size - 1) / 2
  return _smooth((1 - np.hypot(x, y) / (size / 2)) / _FADE)


def _smooth(share: np.ndarray) -> np.ndarray:
  """A step from 0 to 1, without corners."""
  share = np.clip(share, 0, 1)
  return share * share * (3 - 2 * share)
