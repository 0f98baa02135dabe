"""The two guidance images: the symmetric image and the past frame."""

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
_SHARP_ENOUGH = 0.5  # share of the sharpest frame's sharpness
_FADE = 0.99  # factor of the sharpest frame's sharpness, per frame


def symmetry_axis(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
  """Fits the face's symmetry axis {x : n·x = c} to the landmark pairs.

  The normal is the median direction between counterparts, and the offset is
  the median of midpoints and midline points, so that outliers do not matter.

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
  """Returns the (2, 3) affine map that mirrors points at an axis."""
  linear = np.eye(2) - 2 * np.outer(normal, normal)
  return np.column_stack([linear, 2 * offset * normal])


@dataclass(frozen=True)
class SymmetricImage:
  """The symmetric image of one frame.

  Attributes:
    image: (h, w, 3) uint8: visible pixels as they are, occluded ones from
      their mirrored counterparts, grey if those are occluded as well.
    unknown: (h, w) uint8, 1 on pixels that are occluded on both sides.
    valid: whether the image can serve as guidance.
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
    landmarks: (21, 2) in crop pixels; (0, 2) if there are none.

  Returns:
    The image. It is not valid if there are no landmarks, if the head is turned
    too far, or if hardly anything occluded has a visible counterpart.
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
  """Returns the occluded share of the face, in [0, 1].

  Args:
    mask: (h, w) uint8, 1 on the occlusion.
    outline: (k, 2) points around the face.
  """
  if not mask.any():
    return 0.0
  face_mask = _filled(mask.shape, outline)
  return float((face_mask & mask).sum() / max(int(face_mask.sum()), 1))


def sharpness(image: np.ndarray, outline: np.ndarray) -> float:
  """Returns the variance of the Laplacian over the face.

  All crops are scaled to the same size first.

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


class PastFrameChooser:
  """Chooses the past frame: the most recent one that is unobstructed and sharp.

  It is never a later frame. What counts as sharp adapts to the video: a frame
  is sharp if it has at least half the sharpness of the sharpest recent frame,
  a value that fades by 1 % a frame. So a camera that goes out of focus soon
  has past frames again.

  Args:
    max_occlusion: share of the face that may be covered.

  Example:
    >>> choose = PastFrameChooser()
    >>> choose.update(0, occlusion=0.0, sharpness=50.0)
    -1
    >>> choose.update(1, occlusion=0.4, sharpness=50.0)
    0
  """

  def __init__(self, max_occlusion: float = 0.005):
    self._max_occlusion = max_occlusion
    self._index = -1
    self._sharpest = 0.0

  @property
  def index(self) -> int:
    """The past frame of the frame that comes next; −1 if it has none."""
    return self._index

  def update(
    self, frame_index: int, *, occlusion: float, sharpness: float
  ) -> int:
    """Returns the index of this frame's past frame, or −1 if it has none.

    Then the frame itself becomes a candidate for later ones.

    Args:
      frame_index: number of the frame in its video.
      occlusion: share of the face that is covered.
      sharpness: what `sharpness` returns for its crop.
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
