"""Faces of any size and turn: searched for, and then followed in windows."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import chain, cycle, repeat
from pathlib import Path

import numpy as np

from data_prep.detections import NOTHING, Detections, overlap
from data_prep.detectors.landmarkers import FaceDetector, faces_of
from data_prep.detectors.tiles import TileSearch
from data_prep.detectors.windows import Window, turns_of
from data_prep.faces.landmarks import oval, roll

# Side of the window in which a face is followed, over the size of the face.
_WINDOW = 2.5
_SAME_FACE = 0.3  # overlap of boxes
_MOST = 4  # faces that are followed
_NEWCOMERS = 12  # frames between two looks for further faces
_AWAITED = 12  # frames that a face which is lost is awaited where it was
# A search takes as long as several frames. So the tiles are searched at every
# fourth frame without a face, once at each turn, and then more rarely.
_TURNS = (0, 1, 3, 2)  # quarter turns
_PAUSE = 4
_LATER_TURNS = (0, 1, 0, 3, 0, 2)
_LONG_PAUSE = 12


class ThoroughFaceDetector:
  """Faces with 21 landmarks each, also small ones, and heads that lie.

  A face is followed in a window of the frame. Where too few are found, it looks
  at the whole frame; if that is not enough, at tiles of it, from time to time,
  and at other turns.

  Args:
    models: folder of the model files, see `diffmvr_jax.files`.
    wanted: number of faces that are enough, up to four.
    still: whether the pictures are unrelated. Then none is followed, and each
      picture is searched at every turn.
  """

  overlooks = True

  def __init__(
    self,
    models: str | Path | None = None,
    *,
    wanted: int = 1,
    still: bool = False,
  ):
    with ExitStack() as opened:
      self._faces = opened.enter_context(closing(FaceDetector(models)))
      self._tiles = TileSearch(models)
      opened.pop_all()
    self._wanted, self._still = min(wanted, _MOST), still
    self._followed: list[_Followed] = []
    self._searches, self._unseen = _searches(0), 0

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Finds the faces of a frame; videos start at index 0."""
    del index
    found: list[np.ndarray] = []
    for face in self._followed:
      if not _is_among(face.box, found):  # not in the window of another one
        _add(found, self._within(image, face.window()))
    self._unseen += 1  # frames since the whole frame was looked at
    if len(found) < self._wanted or self._unseen > _NEWCOMERS:
      _add(found, self._in_whole(image))
      self._unseen = 0
    if len(found) < self._wanted:
      for window in self._search(image, [_box(face) for face in found]):
        _add(found, self._within(image, window))
        if len(found) >= self._wanted:
          break
    if len(found) >= self._wanted:
      self._searches = _searches(_PAUSE - 1)  # a face may soon be back
    if not self._still:
      self._follow(found)
    return faces_of(np.stack(found)) if found else NOTHING

  def close(self) -> None:
    """Frees MediaPipe's graphs."""
    self._faces.close()
    self._tiles.close()

  def _within(self, image: np.ndarray, window: Window) -> list[np.ndarray]:
    """The (21, 2) landmarks of the faces in a window, in the frame."""
    found = self._faces(window.cut(image)).landmarks
    if found is None:
      return []
    return list(window.to_frame(found).astype(np.float32))

  def _in_whole(self, image: np.ndarray) -> list[np.ndarray]:
    """The landmarks of the faces that are found in the whole frame."""
    found = self._faces(image).landmarks
    faces = []
    for landmarks in [] if found is None else found:
      turns = turns_of(roll(landmarks))
      window = self._tiles.upright(image, _box(landmarks), turns)
      again = [] if window.turns == turns else self._within(image, window)
      faces += again or [landmarks]
    return faces

  def _search(
    self, image: np.ndarray, known: list[np.ndarray]
  ) -> Iterator[Window]:
    """Yields windows around further faces, as long as they are asked for."""
    if self._still:
      for turns in _TURNS:
        if turns:
          yield from self._tiles.glance(image, turns, known)
        yield from self._tiles(image, turns, known)
      return
    search, turns = next(self._searches)
    look = self._tiles if search else self._tiles.glance
    yield from look(image, turns, known)

  def _follow(self, found: list[np.ndarray]) -> None:
    faces = [_Followed(landmarks) for landmarks in found]
    for face in self._followed:
      face.missed += 1
      if face.missed <= _AWAITED and not _is_among(face.box, found):
        faces.append(face)
    self._followed = faces[:_MOST]


def _searches(wait: int) -> Iterator[tuple[bool, int]]:
  """Yields for each frame without a face how it is looked at.

  Args:
    wait: frames until the first search.

  Yields:
    Whether the tiles are searched, or the whole frame; and quarter turns.
  """
  glances = cycle(_TURNS[1:])  # the upright frame has been looked at
  pauses = chain(repeat(_PAUSE, len(_TURNS)), repeat(_LONG_PAUSE))
  for turns in chain(_TURNS, cycle(_LATER_TURNS)):
    for _ in range(wait):
      yield False, next(glances)
    yield True, turns
    wait = next(pauses) - 1


class _Followed:
  """A face that is followed.

  Args:
    landmarks: (21, 2), where it was seen last.
  """

  def __init__(self, landmarks: np.ndarray):
    self.box = _box(landmarks)
    self.missed = 0  # frames since
    self._turns = turns_of(roll(landmarks))

  def window(self) -> Window:
    """Where it is looked for."""
    return Window.around(self.box, _WINDOW, self._turns)


def _add(found: list[np.ndarray], more: list[np.ndarray]) -> None:
  """Adds the landmarks of faces that are not there yet."""
  for landmarks in more:
    if not _is_among(_box(landmarks), found):
      found.append(landmarks)


def _is_among(box: np.ndarray, found: list[np.ndarray]) -> bool:
  return any(overlap(box, _box(other)) >= _SAME_FACE for other in found)


def _box(landmarks: np.ndarray) -> np.ndarray:
  outline = oval(landmarks)
  return np.concatenate([outline.min(0), outline.max(0)])
