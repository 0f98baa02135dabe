"""Lays a smooth crop around the face that a video shows.

Frames stream through with a fixed lookahead: a frame comes out once the
frames up to `lookahead` later are in. So memory is bounded whatever the
video's length, and with a lookahead of 0 the same code is causal.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from data_prep.faces import crop
from data_prep.faces.landmarks import extent, oval, roll

LOOKAHEAD = 12  # frames
# Standard deviation of the smoothing, in frames, and where it is cut off.
_SIGMA = 2.0
_RADIUS = 6

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Face:
  """The chosen face of a frame, in source pixels.

  Attributes:
    box: (4,) left, top, right, bottom.
    landmarks: (21, 2), or None where the detector finds only boxes.
  """

  box: np.ndarray
  landmarks: np.ndarray | None

  def parameters(self) -> np.ndarray:
    """Returns centre x, centre y, side and roll of the crop without margin."""
    if self.landmarks is not None:
      centre, side = extent(self.landmarks)
      return np.array([*centre, side, roll(self.landmarks)])
    low, high = self.box[:2], self.box[2:]
    # Boxes are edges, points are pixel centres.
    return np.array([*((low + high) / 2 - 0.5), (high - low).max(), 0.0])


@dataclass(frozen=True, kw_only=True)
class TrackedFace:
  """The place of a frame's crop, and the face in it.

  Attributes:
    transform: (2, 3) float32 map from source to crop pixels.
    landmarks: (21, 2) float32 in crop pixels; (0, 2) if there are none.
    outline: (k, 2) float32 in crop pixels; its hull is the face.
  """

  transform: np.ndarray
  landmarks: np.ndarray
  outline: np.ndarray


def track(
  frames: Iterable[tuple[T, Face | None]],
  size: int,
  lookahead: int = LOOKAHEAD,
) -> Iterator[tuple[T, TrackedFace | None]]:
  """Smooths the crop over time and bridges frames without a face.

  Args:
    frames: items in order, each with the face of its frame.
    size: side of the crops, in pixels.
    lookahead: frames that have to come in before one comes out.

  Yields:
    Each item with its crop; None if no face was found within `LOOKAHEAD`
    frames before and `lookahead` frames after.
  """
  window: deque[tuple[T, Face | None]] = deque()
  place = 0  # in the window, of the frame that comes out next
  for item in frames:
    window.append(item)
    if len(window) > place + lookahead:
      yield window[place][0], _smoothed_face(window, place, size)
      place = _next_place(window, place)
  while place < len(window):
    yield window[place][0], _smoothed_face(window, place, size)
    place = _next_place(window, place)


def _next_place(window: deque, place: int) -> int:
  """Moves on by a frame, and drops a frame that is no longer looked at."""
  if place < LOOKAHEAD:
    return place + 1
  window.popleft()
  return place


def _smoothed_face(window: deque, t: int, size: int) -> TrackedFace | None:
  faces: dict[int, Face] = {
    i: found for i, (_, found) in enumerate(window) if found is not None
  }
  if not faces:
    return None
  # A box says less than landmarks do, and is not the same place.
  marks = {
    i: face.landmarks for i, face in faces.items() if face.landmarks is not None
  }
  if marks:
    faces = {i: faces[i] for i in marks}
  times = list(faces)
  values = np.stack([found.parameters() for found in faces.values()])
  values[:, 3] = np.unwrap(values[:, 3])  # of heads that are upside down
  near = np.arange(max(0, t - _RADIUS), min(len(window), t + _RADIUS + 1))
  weights = np.exp(-0.5 * ((near - t) / _SIGMA) ** 2)
  x, y, side, angle = (
    weights @ np.interp(near, times, column) / weights.sum()
    for column in values.T
  )
  transform = crop.transform((x, y), side, angle, size)
  if not marks:
    boxes = np.stack([found.box for found in faces.values()])
    left, top, right, bottom = _interpolated(t, times, boxes) - 0.5
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return TrackedFace(
      transform=transform,
      landmarks=np.zeros((0, 2), np.float32),
      outline=crop.apply(transform, np.array(corners)).astype(np.float32),
    )
  values = np.stack(list(marks.values())).reshape(len(marks), -1)
  here = _interpolated(t, times, values)
  landmarks = crop.apply(transform, here.reshape(-1, 2)).astype(np.float32)
  return TrackedFace(
    transform=transform, landmarks=landmarks, outline=oval(landmarks)
  )


def _interpolated(t: int, times: list[int], values: np.ndarray) -> np.ndarray:
  """Interpolates the rows of `values` linearly in time."""
  after = bisect_left(times, t)
  if after == len(times):
    return values[-1]
  if after == 0 or times[after] == t:
    return values[after]
  before = after - 1
  share = (t - times[before]) / (times[after] - times[before])
  return values[before] + share * (values[after] - values[before])
