"""The one interface of all detectors: a frame in, boxes, masks, scores out."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Detections:
  """The objects that a detector finds in one frame.

  Attributes:
    boxes: (n, 4) float32: left, top, right, bottom, in pixels.
    scores: (n,) float32 in [0, 1]; 1 if the detector gives none.
    masks: (n, h, w) uint8, 1 on the object; None if the detector finds only
      boxes.
    landmarks: (n, 21, 2) float32, see `data_prep.faces.landmarks`, NaN for
      an object that has none; None if the detector finds none at all.
  """

  boxes: np.ndarray
  scores: np.ndarray
  masks: np.ndarray | None = None
  landmarks: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.boxes)


class Detector(Protocol):
  """Finds objects of one kind, frame by frame in the video's order.

  Attributes:
    overlooks: whether it may miss an object that is there; if so, short gaps
      between two finds are filled. It is False for masks that a person made.
  """

  overlooks: bool

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Looks at one frame.

    Args:
      image: (h, w, 3) uint8.
      index: number of the frame in its video, from 0.
    """
    ...

  def close(self) -> None:
    """Frees what the detector holds."""
    ...


class CropOccluder(Protocol):
  """Tells what covers a face from its crop, as a network does.

  Whoever has a network hands it in: `data_prep` imports no JAX.
  """

  def __call__(self, crop: np.ndarray, free: np.ndarray | None) -> np.ndarray:
    """Looks at one crop; a clip's crops come in order.

    Args:
      crop: (s, s, 3) uint8.
      free: (s, s, 3) uint8, the most recent crop that nothing covered; None
        before the first one.

    Returns:
      (s, s) float32, probability that the pixel shows something else than the
      face and its background.
    """
    ...


NOTHING = Detections(
  boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32)
)


def largest(found: Detections) -> int:
  """Returns the index of the largest box.

  Example:
    >>> boxes = np.array([[0, 0, 2, 2], [0, 0, 9, 9]], np.float32)
    >>> largest(Detections(boxes=boxes, scores=np.ones(2)))
    1
  """
  sides = found.boxes[:, 2:] - found.boxes[:, :2]
  return int(np.argmax(sides.prod(axis=1)))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
  """Returns the intersection over union of two boxes.

  Example:
    >>> overlap(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2]))
    0.3333333333333333
  """
  low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
  shared = float(np.clip(high - low, 0, None).prod())
  areas = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()
  return shared / max(float(areas) - shared, 1e-9)


def covered(
  found: Detections, shape: tuple[int, int], *, as_boxes: bool = False
) -> np.ndarray:
  """Returns one mask of everything that was found in a frame.

  Args:
    found: what was found.
    shape: height and width of the frame.
    as_boxes: whether to take bounding boxes, the paper's first type of mask,
      or outlines, its second.

  Returns:
    (h, w) uint8, 1 on the objects.

  Example:
    >>> box = np.array([[1, 0, 3, 2]], np.float32)
    >>> covered(Detections(boxes=box, scores=np.ones(1)), (2, 4)).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
  """
  if found.masks is not None and not as_boxes:
    return found.masks.max(axis=0, initial=0)
  return box_mask(found.boxes, shape)


def box_mask(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Returns (h, w) uint8, 1 within any of (n, 4) boxes."""
  mask = np.zeros(shape, np.uint8)
  for left, top, right, bottom in boxes.round().astype(int).reshape(-1, 4):
    mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 1
  return mask


def boxes_around(mask: np.ndarray) -> np.ndarray:
  """Returns a mask of the boxes around each connected part of a (h, w) mask.

  Example:
    >>> boxes_around(np.array([[1, 0, 0], [1, 1, 0]], np.uint8)).tolist()
    [[1, 1, 0], [1, 1, 0]]
  """
  _, _, parts, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
  left, top, width, height = parts[1:, :4].T  # the first is the background
  boxes = np.stack([left, top, left + width, top + height], -1)
  return box_mask(boxes.astype(np.float32), mask.shape[:2])


def bounding_box(mask: np.ndarray) -> np.ndarray:
  """Returns the box around a mask's ones, (4,) float32; 0 if there are none.

  Example:
    >>> bounding_box(np.eye(3, dtype=np.uint8)).tolist()
    [0.0, 0.0, 3.0, 3.0]
  """
  left, top, width, height = cv2.boundingRect(mask)
  return np.array([left, top, left + width, top + height], np.float32)
