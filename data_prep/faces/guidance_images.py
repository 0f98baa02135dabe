"""The two guidance images: symmetric and past."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.faces.landmarks import PAIRS, asymmetry

# Beyond this `asymmetry` the mirrored half shows another view.
MAX_ASYMMETRY = 0.35
# Share of the occluded pixels that a symmetric image has to fill.
MIN_FILLED = 0.2
GREY = 127
_SHARPNESS_SIDE = 128  # pixels
_SHARP_ENOUGH = 0.5  # share of the sharpest
_FADE = 0.99  # of the sharpest, per frame


def symmetry_axis(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
  """Fits the face's symmetry axis {x : n·x = c} to the landmark pairs.

  The normal is the median direction between counterparts and the offset the
  median of midpoints and midline points, so outliers have no pull.

  Args:
    landmarks: (21, 2), see `data_prep.faces.landmarks`.

  Returns:
    The unit normal n, (2,), and the offset c, in pixels.
  """
  right, left = landmarks[:PAIRS], landmarks[PAIRS:][:PAIRS]
  across = left - right
  across = across / np.maximum(np.linalg.norm(across, axis=1), 1e-6)[:, None]
  normal = np.median(across, axis=0)
  normal = normal / max(np.linalg.norm(normal), 1e-6)
  middle = np.concatenate([(left + right) / 2, landmarks[2 * PAIRS :]])
  return normal, float(np.median(middle @ normal))


def reflection(normal: np.ndarray, offset: float) -> np.ndarray:
  """The (2, 3) affine map that mirrors points at an axis."""
  linear = np.eye(2) - 2 * np.outer(normal, normal)
  return np.column_stack([linear, 2 * offset * normal])


@dataclass(frozen=True)
class SymmetricImage:
  """The symmetric image of one frame.

  Attributes:
    image: (h, w, 3) uint8: visible pixels as they are, occluded ones from
      their mirrored counterparts, grey where there is none.
    unknown: (h, w) uint8, 1 where a pixel is occluded on both sides.
    valid: whether the image is of use.
  """

  image: np.ndarray
  unknown: np.ndarray
  valid: bool


def symmetric_image(
  image: np.ndarray, mask: np.ndarray, landmarks: np.ndarray
) -> SymmetricImage:
  """Fills the occluded side with the mirrored visible side.

  Args:
    image: (h, w, 3) uint8 crop.
    mask: (h, w) uint8, 1 on the occlusion.
    landmarks: (21, 2) in crop pixels; (0, 2) where there are none.

  Returns:
    The image; it is not valid without landmarks, for a head turned too far,
    and where hardly anything occluded has a visible counterpart.
  """
  if not mask.any():
    return SymmetricImage(image, mask, len(landmarks) > 0)
  occluded = mask > 0
  if not len(landmarks):
    hidden = np.where(occluded[..., None], np.uint8(GREY), image)
    return SymmetricImage(hidden, mask, False)
  mirror = reflection(*symmetry_axis(landmarks))
  height, width = mask.shape
  # A reflection is its own inverse, so the map serves both directions.
  flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
  mirrored = cv2.warpAffine(image, mirror, (width, height), flags=flags)
  hidden = cv2.warpAffine(
    mask * np.uint8(255),
    mirror,
    (width, height),
    flags=flags,
    borderMode=cv2.BORDER_CONSTANT,
    borderValue=255,
  )
  filled = occluded & (hidden < 3)
  symmetric = cv2.copyTo(mirrored, filled.astype(np.uint8), image.copy())
  frontal = asymmetry(landmarks) <= MAX_ASYMMETRY
  enough = filled.sum() >= MIN_FILLED * occluded.sum()
  unknown = (occluded & ~filled).astype(np.uint8)
  cv2.copyTo(np.full_like(image, GREY), unknown, symmetric)
  return SymmetricImage(symmetric, unknown, bool(frontal and enough))


def face_occlusion(mask: np.ndarray, outline: np.ndarray) -> float:
  """Occluded share of the face, in [0, 1].

  Args:
    mask: (h, w) uint8, 1 on the occlusion.
    outline: (k, 2) points around the face.
  """
  if not mask.any():
    return 0.0
  face_mask = _filled(mask.shape, outline)
  return float((face_mask & mask).sum() / max(int(face_mask.sum()), 1))


def sharpness(image: np.ndarray, outline: np.ndarray) -> float:
  """Variance of the Laplacian over the face, at one scale for all crops.

  Args:
    image: (h, w, 3) uint8 crop.
    outline: (k, 2) points around the face.
  """
  scale = _SHARPNESS_SIDE / len(image)
  grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
  grey = cv2.resize(
    grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
  )
  edges = cv2.Laplacian(grey, cv2.CV_32F)
  return float(edges[_filled(grey.shape, outline * scale) > 0].var())


class PastBank:
  """Remembers the most recent unobstructed, sharp frame; strictly causal.

  What counts as sharp adapts to the video: a frame is, if it has at least half
  the sharpness of the sharpest of late, which fades by 1 % a frame. So a
  camera that goes out of focus soon has past frames again.

  Args:
    max_occlusion: share of the face that may be covered.

  Example:
    >>> bank = PastBank()
    >>> bank.update(0, occlusion=0.0, sharpness=50.0)
    -1
    >>> bank.update(1, occlusion=0.4, sharpness=50.0)
    0
  """

  def __init__(self, max_occlusion: float = 0.005):
    self._max_occlusion = max_occlusion
    self._index = -1
    self._sharpest = 0.0

  def update(
    self, frame_index: int, *, occlusion: float, sharpness: float
  ) -> int:
    """Returns the past frame's index for this frame (−1: none), then learns.

    A frame is never its own past frame.
    """
    past = self._index
    self._sharpest *= _FADE
    if occlusion <= self._max_occlusion:
      if sharpness >= _SHARP_ENOUGH * self._sharpest:
        self._index = frame_index
      self._sharpest = max(self._sharpest, sharpness)
    return past


def _filled(shape: tuple[int, ...], outline: np.ndarray) -> np.ndarray:
  mask = np.zeros(shape, np.uint8)
  hull = cv2.convexHull(outline.round().astype(np.int32))
  cv2.fillConvexPoly(mask, hull, 1)
  return mask
