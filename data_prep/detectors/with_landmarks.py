"""Landmarks for the boxes of another detector, such as YOLO's.

The paper finds the object with YOLO and its axis of symmetry with MediaPipe.
"""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.detections import Detections, Detector, overlap
from data_prep.detectors.landmarkers import FaceDetector, faces_of
from data_prep.detectors.tiles import TileSearch
from data_prep.detectors.windows import Window, turns_of
from data_prep.faces.landmarks import COUNT, roll
from diffmvr_jax.errors import InputError

_WINDOW = 2.0  # side of the window over that of the box
_SAME_FACE = 0.3  # overlap of boxes
_CARRIED = 12  # frames that landmarks move along with a box
_MOST = 4  # faces in a frame that get landmarks


@dataclass(frozen=True, kw_only=True)
class _Known:
  """A face of the frames before.

  Attributes:
    box: (4,), the detector's.
    landmarks: (21, 2), from when they were found last.
    there: the detector's box at that time.
    age: frames since.
  """

  box: np.ndarray
  landmarks: np.ndarray
  there: np.ndarray
  age: int = 0

  def carried(self, box: np.ndarray) -> np.ndarray:
    """Moves the landmarks along with the box."""
    old, new = self.there, box
    scale = (new[2:] - new[:2]) / np.maximum(old[2:] - old[:2], 1e-6)
    moved = (self.landmarks - old[:2]) * scale + new[:2]
    return moved.astype(np.float32)


class FacesWithLandmarks:
  """The faces of another detector, with MediaPipe's landmarks.

  A box becomes that of the face's oval. Where no landmarks are found, because
  the face is covered, the last ones move along with the box for some frames.

  Args:
    detector: finds the faces' boxes.
    models: folder of MediaPipe's models, see `diffmvr_jax.files`.
    still: whether the pictures are unrelated.
  """

  overlooks = True

  def __init__(
    self,
    detector: Detector,
    models: str | Path | None = None,
    *,
    still: bool = False,
  ):
    self._detector, self._still = detector, still
    with ExitStack() as opened:
      self._faces = opened.enter_context(closing(FaceDetector(models)))
      self._tiles = TileSearch(models)
      opened.pop_all()
    self._known: list[_Known] = []

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Finds the faces of a frame; those without landmarks have NaN there."""
    found = self._detector(image, index)
    boxes = found.boxes.copy()
    landmarks = np.full((len(found), COUNT, 2), np.nan, np.float32)
    known: list[_Known] = []
    for i in np.argsort(-found.scores)[:_MOST]:
      box = found.boxes[i]
      face = self._look(image, box, _most_overlapping(box, self._known))
      if face is not None:
        known.append(face)
        landmarks[i] = face.carried(box)
        boxes[i] = faces_of(landmarks[i][None]).boxes[0]
    if not self._still:
      self._known = known
    return replace(found, boxes=boxes, landmarks=landmarks)

  def close(self) -> None:
    """Closes the detector, and frees MediaPipe's graphs."""
    self._detector.close()
    self._faces.close()
    self._tiles.close()

  def _look(
    self, image: np.ndarray, box: np.ndarray, before: _Known | None
  ) -> _Known | None:
    """Looks for landmarks around a box; None if there are none to carry."""
    if before is None:
      window = self._tiles.upright(image, box, 0)
    else:
      window = Window.around(box, _WINDOW, turns_of(roll(before.landmarks)))
    found = self._faces(window.cut(image))
    if found.landmarks is not None:
      landmarks = window.to_frame(found.landmarks).astype(np.float32)
      overlaps = [overlap(box, its) for its in faces_of(landmarks).boxes]
      best = int(np.argmax(overlaps))
      if overlaps[best] >= _SAME_FACE:
        return _Known(box=box, landmarks=landmarks[best], there=box)
    if before is None or before.age == _CARRIED:
      return None
    return replace(before, box=box, age=before.age + 1)


def _most_overlapping(
  box: np.ndarray, faces: Sequence[_Known]
) -> _Known | None:
  overlaps = [overlap(box, face.box) for face in faces]
  if not overlaps or max(overlaps) < _SAME_FACE:
    return None
  return faces[int(np.argmax(overlaps))]


@lru_cache(maxsize=8)
def why_no_landmarks(models: str | Path | None) -> str | None:
  """Returns why MediaPipe's landmarks cannot be had; None if they can.

  Args:
    models: folder of MediaPipe's models, see `diffmvr_jax.files`.
  """
  try:
    FaceDetector(models).close()
  except InputError as error:
    return str(error)
  return None
