"""A hand that is followed from frame to frame, in half of the time."""

from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from data_prep.detections import NOTHING, Detections, Detector
from data_prep.detectors.landmarkers import (
  HAND_CONFIDENCE,
  HandDetector,
  hands_of,
)
from data_prep.detectors.mediapipe_graphs import Graph, model_file
from diffmvr_jax.media.pace import Pace

_EVERY = 4  # frames in which other hands are looked for once
_MILLISECONDS = 40  # between frames, for MediaPipe, which needs some time


class FollowedHands:
  """Finds hands in the frames of a live video.

  To find hands anywhere takes twice as long as to follow one. So a hand that
  is alone is followed, and other hands are looked for in every fourth frame.
  While there are several, all of them are looked for in every frame.

  Args:
    find_all: finds the hands of a frame.
    follow: finds one hand, first of all near the one of the frame before.
    pace: how rarely to look, since something else finds occluders too. While
      there is no hand, one frame of four is looked at; while there is one, it
      is followed as the pace says, and others are looked for half as often.
      The frames between are given what was found before them. None: it looks
      at every frame.
  """

  overlooks = True

  def __init__(
    self,
    find_all: Detector,
    follow: Detector,
    *,
    pace: Pace | None = None,
  ):
    self._pace = pace
    self._opened = ExitStack()
    self._find_all = self._opened.enter_context(closing(find_all))
    self._follow = self._opened.enter_context(closing(follow))
    self._found = NOTHING  # in the frame before
    self._is_new = False  # the hand was found in the frame before
    self._since = 0  # frames since all were looked for

  @classmethod
  def open(
    cls, models: str | Path | None = None, *, pace: Pace | None = None
  ) -> "FollowedHands":
    """Opens MediaPipe's hand landmarker, once for each of the two tasks.

    Args:
      models: folder of the model files, see `diffmvr_jax.files`.
      pace: see the class.

    Raises:
      InputError: MediaPipe is not installed, or its model cannot be used.
    """
    return cls(HandDetector(models), _OneHand(models), pace=pace)

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Finds the hands of the next frame."""
    self._since += 1
    before, rest = len(self._found), 1
    if self._pace is not None:
      rest = self._pace.every if before else _EVERY
    due = self._since >= max(_EVERY, 2 * rest if before else 0)
    if self._since % rest and not due:
      return self._found
    looks_for_all = due or before > 1 or self._is_new
    find = self._find_all if looks_for_all else self._follow
    self._found = find(image, index)
    self._is_new = not looks_for_all and not before and len(self._found) > 0
    if looks_for_all:
      self._since = 0
    return self._found

  def close(self) -> None:
    """Closes both detectors."""
    self._opened.close()


class _OneHand:
  """Follows a hand; where it is lost, one is looked for in the whole frame."""

  overlooks = True

  def __init__(self, models: str | Path | None):
    file = model_file("hand_landmarker", models)
    self._graph = Graph(
      lambda vision: vision.HandLandmarker.create_from_options(
        vision.HandLandmarkerOptions(
          base_options=file,
          running_mode=vision.RunningMode.VIDEO,
          num_hands=1,
          min_hand_detection_confidence=HAND_CONFIDENCE,
          min_hand_presence_confidence=HAND_CONFIDENCE,
          min_tracking_confidence=HAND_CONFIDENCE,
        )
      )
    )
    self._time = 0

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    del index  # it may begin anew, and time may not
    self._time += _MILLISECONDS
    return hands_of(self._graph(image, self._time), image)

  def close(self) -> None:
    self._graph.close()
