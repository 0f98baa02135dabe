"""From the restored crop back into the source frame.

A pixel whose feathered mask is 0 keeps the source's value, exactly.
"""

import cv2
import numpy as np

# Standard deviation of the feather over the crop's side.
_FEATHER = 1 / 80


def feather(mask: np.ndarray) -> np.ndarray:
  """Softens a mask outwards: 1 on the mask, falling to exactly 0 beyond.

  Args:
    mask: (h, w) uint8, 1 on the occlusion.

  Returns:
    (h, w) float32 in [0, 1].

  Example:
    >>> float(feather(np.zeros((8, 8), np.uint8)).max())
    0.0
  """
  sigma = max(0.5, _FEATHER * max(mask.shape))
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
  """Blends `restored` over `source`; where alpha is 0 the source is kept.

  Args:
    source: (h, w, 3) uint8.
    restored: (h, w, 3) uint8.
    alpha: (h, w) float32 in [0, 1].
  """
  blended = source + alpha[..., None] * (restored.astype(np.float32) - source)
  blended = np.clip(np.round(blended), 0, 255).astype(np.uint8)
  return np.where(alpha[..., None] > 0, blended, source)


def paste(
  source: np.ndarray,
  crop: np.ndarray,
  mask: np.ndarray,
  transform: np.ndarray,
) -> np.ndarray:
  """Puts a restored crop into its frame, inside the feathered mask only.

  Args:
    source: (h, w, 3) uint8 frame.
    crop: (s, s, 3) uint8, restored.
    mask: (s, s) uint8, 1 on the occlusion.
    transform: (2, 3), from source to crop pixels.

  Returns:
    (h, w, 3) uint8. Where the crop's border cuts through the mask, the
    feather fades out inside the crop.
  """
  if not mask.any():
    return source
  height, width = source.shape[:2]
  flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
  placed = cv2.warpAffine(
    crop,
    transform,
    (width, height),
    flags=flags,
    borderMode=cv2.BORDER_REPLICATE,
  )
  alpha = cv2.warpAffine(
    feather(mask) * border_fade(len(mask)),
    transform,
    (width, height),
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
  )
  return composite(source, placed, np.clip(alpha, 0, 1))


def border_fade(size: int) -> np.ndarray:
  """(size, size) weights: 1 inside, falling to 0 at the crop's border."""
  distance = np.minimum(np.arange(size), np.arange(size)[::-1])
  ramp = np.clip(distance / max(1, size // 24), 0, 1).astype(np.float32)
  return np.minimum(ramp[:, None], ramp[None, :])
