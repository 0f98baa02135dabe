"""The two guidance images: symmetric and past."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep import face

# Beyond this `face.asymmetry` the mirrored half shows another view.
MAX_ASYMMETRY = 0.35
# Share of the occluded pixels that a symmetric image has to fill.
MIN_FILLED = 0.2
GREY = 127


def symmetry_axis(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
  """Fits the face's symmetry axis {x : n·x = c} to the landmark pairs.

  The normal is the median direction between counterparts and the offset the
  median of midpoints and midline points, so outliers have no pull.

  Args:
    landmarks: (21, 2), see `data_prep.face`.

  Returns:
    The unit normal n, (2,), and the offset c, in pixels.
  """
  right, left = landmarks[: face.PAIRS], landmarks[face.PAIRS :][: face.PAIRS]
  across = left - right
  across = across / np.maximum(np.linalg.norm(across, axis=1), 1e-6)[:, None]
  normal = np.median(across, axis=0)
  normal = normal / max(np.linalg.norm(normal), 1e-6)
  middle = np.concatenate([(left + right) / 2, landmarks[2 * face.PAIRS :]])
  return normal, float(np.median(middle @ normal))


def reflection(normal: np.ndarray, offset: float) -> np.ndarray:
  """The (2, 3) affine map that mirrors points at an axis."""
  linear = np.eye(2) - 2 * np.outer(normal, normal)
  return np.column_stack([linear, 2 * offset * normal])


def symmetric_image(
  image: np.ndarray, mask: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, bool]:
  """Fills the occluded side with the mirrored visible side.

  Visible pixels are kept; pixels occluded on both sides are grey.

  Args:
    image: (h, w, 3) uint8 crop.
    mask: (h, w) uint8, 1 on the occlusion.
    landmarks: (21, 2), in crop pixels.

  Returns:
    The image, and whether it is of use: false for a head turned too far, or
    where hardly anything occluded has a visible counterpart.
  """
  if not mask.any():
    return image, True
  mirror = reflection(*symmetry_axis(landmarks))
  height, width = mask.shape
  # A reflection is its own inverse, so the map serves both directions.
  flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
  mirrored = cv2.warpAffine(image, mirror, (width, height), flags=flags)
  hidden = cv2.warpAffine(
    mask.astype(np.float32),
    mirror,
    (width, height),
    flags=flags,
    borderMode=cv2.BORDER_CONSTANT,
    borderValue=1,
  )
  occluded = mask > 0
  filled = occluded & (hidden < 0.01)
  symmetric = np.where(occluded[..., None], np.uint8(GREY), image)
  symmetric = np.where(filled[..., None], mirrored, symmetric)
  frontal = face.asymmetry(landmarks) <= MAX_ASYMMETRY
  enough = filled.sum() >= MIN_FILLED * occluded.sum()
  return symmetric, bool(frontal and enough)


def face_occlusion(mask: np.ndarray, landmarks: np.ndarray) -> float:
  """Occluded share of the face's oval, in [0, 1]."""
  outline = np.zeros_like(mask)
  hull = cv2.convexHull(face.oval(landmarks).astype(np.int32))
  cv2.fillConvexPoly(outline, hull, 1)
  return float((outline & mask).sum() / max(int(outline.sum()), 1))


@dataclass
class PastBank:
  """Remembers the most recent unobstructed frame; strictly causal."""

  index: int = -1

  def update(self, frame_index: int, occluded: bool) -> int:
    """Returns the past frame's index for this frame (−1: none), then learns.

    An unobstructed frame is never its own past frame.
    """
    past = self.index
    if not occluded:
      self.index = frame_index
    return past
