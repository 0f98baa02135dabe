"""Chooses one of the faces that are found, and stays with it."""

import cv2
import numpy as np

from data_prep.detections import Detections, Detector, largest, overlap
from data_prep.faces.track import LOOKAHEAD, Face

# A face that overlaps so much with where it is expected is the same one.
_SAME_FACE = 0.3
# Middles of two faces that are nearer, in sizes, may be taken for each other.
_NEAR = 3.0
# The largest face takes over from a substitute that is so much smaller.
_LARGER = 1.5
# What is so much larger or smaller than the face that is followed has lately
# been is something else, such as a hand that is taken for a face.
_GROWN = 1.4
_LATELY = 0.3  # weight of the newest size
_TREND = 3  # frames for which a motion is thought to go on
_LOOK = 12  # pixels of the picture by which two faces are told apart
_SCENE = 16  # pixels of the picture that shows a new scene
_NEW_SCENE = 40.0  # grey levels between two frames


class FaceFinder:
  """Chooses one face per frame: the same as before, or as `which` says.

  A face that is gone is awaited for `LOOKAHEAD` frames where it was. Then, or
  in a new scene, a face is chosen as in the first frame. While two faces cross,
  perhaps only one is found; afterwards their looks tell which is which.

  Args:
    detector: detector of faces.
    which: `largest`, or the face's number from the left, from 0.
    rests: whether a face that is alone is looked for in every other frame. In
      between it is taken to have moved on as it did.
  """

  def __init__(
    self,
    detector: Detector,
    which: str | int = "largest",
    *,
    rests: bool = False,
  ):
    self._detector = detector
    self._which = which
    self._rests = rests
    self._scene: np.ndarray | None = None
    self._is_substitute = False  # the face that was chosen before has left
    self._forget()

  def __call__(self, image: np.ndarray, index: int) -> Face | None:
    """Finds the face of a frame; returns None if there is none."""
    if self._is_new_scene(image):
      self._forget()
      self._is_substitute = False
    if self._rests and self._face is not None and not self._had_company:
      return self._moved_on(self._face)
    found = self._detector(image, index)
    chosen = self._choose(image, found) if len(found) else None
    if chosen is None:
      self._face = None
      self._missed += 1
      if self._box is not None and self._missed == LOOKAHEAD:
        self._forget()
        self._is_substitute = True
      return None
    self._remember(image, found.boxes, chosen)
    marks = None if found.landmarks is None else found.landmarks[chosen]
    if marks is not None and np.isnan(marks).any():
      marks = None
    self._face = Face(box=found.boxes[chosen], landmarks=marks)
    return self._face

  def _moved_on(self, face: Face) -> Face:
    """The face of the frame before, a frame later; it is looked for next."""
    self._face = None
    self._missed = 1
    marks = face.landmarks
    return Face(
      box=face.box + np.tile(self._velocity, 2),
      landmarks=None if marks is None else marks + self._velocity,
    )

  def _forget(self) -> None:
    """Makes the next face be chosen as in the first frame."""
    self._face: Face | None = None  # if it was found in the frame before
    self._box: np.ndarray | None = None
    self._size = 0.0  # of the face, lately
    self._velocity = np.zeros(2)  # of the face's middle, in pixels per frame
    self._look: np.ndarray | None = None  # when no other face was near
    self._had_company = False  # another face was near in the last frame
    self._is_doubtful = False  # only one of two was found since
    self._missed = 0  # frames since the face was seen

  def _choose(self, image: np.ndarray, found: Detections) -> int | None:
    boxes = found.boxes
    if self._box is None:
      return self._first(found)
    if self._is_substitute and self._which == "largest":
      first = largest(found)
      if _area(boxes[first]) > _LARGER * _area(self._box):
        self._forget()
        self._is_substitute = False
        return first
    frames = min(self._missed + 1, _TREND)
    expected = self._box + np.tile(frames * self._velocity, 2)
    away = [
      _distance(expected, box) if self._is_as_large(box) else np.inf
      for box in boxes
    ]
    near = [i for i in range(len(boxes)) if away[i] < _NEAR]
    if len(near) < 2:
      self._is_doubtful |= self._had_company
    elif self._is_doubtful and self._look is not None:
      looks = [_look(image, boxes[i]) for i in near]
      unlike = [np.abs(look - self._look).mean() for look in looks]
      return near[int(np.argmin(unlike))]
    overlaps = [
      overlap(expected, box) if distance < np.inf else 0.0
      for box, distance in zip(boxes, away, strict=True)
    ]
    if max(overlaps) >= _SAME_FACE:
      return int(np.argmax(overlaps))
    # It moved fast, or it is gone, and these are other faces.
    closest = int(np.argmin(away))
    return closest if away[closest] < 1 else None

  def _first(self, found: Detections) -> int | None:
    """Chooses as in the first frame."""
    if isinstance(self._which, str):
      return largest(found)
    order = np.argsort(found.boxes[:, 0])
    return int(order[self._which]) if self._which < len(found) else None

  def _remember(
    self, image: np.ndarray, boxes: np.ndarray, chosen: int
  ) -> None:
    box = boxes[chosen]
    step = np.zeros(2)
    if self._box is not None:
      step = (_middle(box) - _middle(self._box)) / (self._missed + 1)
    self._velocity = (self._velocity + step) / 2
    others = [_distance(box, other) for other in np.delete(boxes, chosen, 0)]
    self._had_company = min(others, default=np.inf) < _NEAR
    if len(others) and not self._had_company:
      self._is_doubtful = False  # they have parted
    if not self._had_company and not self._is_doubtful:
      self._look = _look(image, box)
    if self._box is None:
      self._size = _size(box)
    self._size += _LATELY * (_size(box) - self._size)
    self._box, self._missed = box, 0

  def _is_as_large(self, box: np.ndarray) -> bool:
    """Whether a box is about as large as the face has lately been."""
    return 1 / _GROWN < _size(box) / max(self._size, 1e-6) < _GROWN

  def _is_new_scene(self, image: np.ndarray) -> bool:
    before = self._scene
    self._scene = _coarse(image, _SCENE)
    if before is None:
      return False
    return float(np.abs(self._scene - before).mean()) > _NEW_SCENE


def _look(image: np.ndarray, box: np.ndarray) -> np.ndarray:
  """The face as a small picture, (12, 12, 3) float32."""
  left, top, right, bottom = box.round().astype(int).clip(0)
  return _coarse(image[top:bottom, left:right], _LOOK)


def _coarse(image: np.ndarray, side: int) -> np.ndarray:
  if not image.size:
    return np.zeros((side, side, 3), np.float32)
  step = max(min(image.shape[:2]) // (4 * side), 1)  # most pixels say no more
  small = np.ascontiguousarray(image[::step, ::step])
  small = cv2.resize(small, (side, side), interpolation=cv2.INTER_AREA)
  return small.astype(np.float32)


def _middle(box: np.ndarray) -> np.ndarray:
  return (box[:2] + box[2:]) / 2


def _distance(a: np.ndarray, b: np.ndarray) -> float:
  """Between the middles of two boxes, in sizes of the first."""
  return float(np.linalg.norm(_middle(a) - _middle(b))) / max(_size(a), 1e-6)


def _size(box: np.ndarray) -> float:
  return float((box[2:] - box[:2]).max())


def _area(box: np.ndarray) -> float:
  return float((box[2:] - box[:2]).prod())
