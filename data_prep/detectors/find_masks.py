"""Finds occlusion masks in every frame of a video, with any detector."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from data_prep.clip import Frame
from data_prep.detections import Detector, covered

# A hand does not vanish for so few frames, so such gaps are filled.
_GAP = 2


def find_masks(
  frames: Iterable[Frame],
  detector: Detector,
  *,
  as_boxes: bool = False,
  causal: bool = False,
) -> Iterator[tuple[Frame, np.ndarray]]:
  """Finds what covers the frames.

  A detector that may overlook something looks at every other frame, and at a
  frame between if it has found something in one of its two neighbours. Then
  gaps of up to two frames are filled with the union of the masks on both
  sides. Masks that a person made are taken as they are.

  Args:
    frames: the frames of one video, in order.
    detector: finds what covers the face.
    as_boxes: whether bounding boxes, not outlines, become the masks.
    causal: whether to look at every frame and leave gaps open, so that no
      frame waits for later ones.

  Yields:
    Each frame with its (h, w) uint8 mask, 1 on the occlusion.
  """

  def look(frame: Frame) -> np.ndarray:
    found = detector(frame.image, frame.index)
    return covered(found, frame.image.shape[:2], as_boxes=as_boxes)

  if causal or not detector.overlooks:
    for frame in frames:
      yield frame, look(frame)
    return
  yield from _without_gaps(_every_other(frames, look))


def with_neighbours(
  masked: Iterable[tuple[Frame, np.ndarray]], *, causal: bool
) -> Iterator[tuple[Frame, np.ndarray]]:
  """Adds to the mask of each frame those of the frames beside it.

  Empty masks stay empty.

  Args:
    masked: frames in order, each with its mask.
    causal: whether to take only the frame before, so that no frame waits.
  """
  before: np.ndarray | None = None
  waiting: tuple[Frame, np.ndarray] | None = None
  for item in masked:
    mask = item[1]
    if before is None:
      before = np.zeros_like(mask)
    if causal:
      yield item[0], mask | before if mask.any() else mask
      before = mask
      continue
    if waiting is not None:
      frame, here = waiting
      yield frame, here | before | mask if here.any() else here
      before = here
    waiting = item
  if waiting is not None:
    frame, here = waiting
    yield frame, here if before is None or not here.any() else here | before


def _every_other(frames: Iterable[Frame], look) -> Iterator:
  waiting: Frame | None = None
  before = False
  for frame in frames:
    if waiting is None and frame.index % 2:
      waiting = frame
      continue
    mask = look(frame)
    here = bool(mask.any())
    if waiting is not None:
      if here or before:
        yield waiting, look(waiting)
      else:
        yield waiting, np.zeros_like(mask)
      waiting = None
    yield frame, mask
    before = here
  if waiting is not None:  # the last frame has no right neighbour
    yield waiting, look(waiting)


def _without_gaps(found: Iterable[tuple[Frame, np.ndarray]]) -> Iterator:
  window: deque[tuple[Frame, np.ndarray]] = deque()
  last: np.ndarray | None = None  # the latest find, if it is near enough
  age = 0
  for item in found:
    window.append(item)
    if item[1].any():
      if last is not None:
        bridge = last | item[1]
        window = deque((f, m if m.any() else bridge) for f, m in window)
      yield from window
      window.clear()
      last, age = item[1], 0
    else:
      age += 1
      if age > _GAP:
        last = None
      if last is None:
        yield from window
        window.clear()
  yield from window
