"""Opens detectors by the names that `--face` and `--occluder` take."""

import re
from pathlib import Path

from data_prep.detections import Detector
from data_prep.detectors.followed_hands import FollowedHands
from data_prep.detectors.given_masks import UserMasks
from data_prep.detectors.landmarkers import HandDetector
from data_prep.detectors.thorough import ThoroughFaceDetector
from data_prep.detectors.with_landmarks import (
  FacesWithLandmarks,
  why_no_landmarks,
)
from data_prep.detectors.yolo import YoloDetector
from diffmvr_jax.errors import InputError
from diffmvr_jax.media.pace import Pace

_YOLO = re.compile(
  r"(?s)(?P<path>.+?)(?:#(?P<label>[^#/]*?))?"
  r"(?:@(?P<score>\d*\.?\d+(?:e-?\d+)?))?"
)


def open_face_detector(
  name: str, models: str | None, *, wanted: int = 1, still: bool = False
) -> Detector:
  """Opens a detector of faces.

  Args:
    name: `mediapipe` or `yolo:WEIGHTS.pt[#CLASS][@SCORE]`.
    models: folder of MediaPipe's models, see `diffmvr_jax.files`.
    wanted: number of faces that have to be there before no more are searched.
    still: whether pictures are unrelated, not frames of one video.

  Raises:
    InputError: there is no such detector, or its model cannot be used.
  """
  kind, _, rest = name.partition(":")
  if kind == "mediapipe" and not rest:
    return ThoroughFaceDetector(models, wanted=wanted, still=still)
  if kind == "yolo" and rest:
    faces = _open_yolo(rest, "face")
    if why_no_landmarks(models) is not None:
      return faces
    return FacesWithLandmarks(faces, models, still=still)
  raise InputError(f"--face {name}: expected mediapipe or yolo:WEIGHTS.pt")


def missing_landmarks(name: str, models: str | None) -> str | None:
  """Returns why a detector of faces gives no landmarks; None if it gives some.

  Args:
    name: as `open_face_detector` takes it.
    models: folder of MediaPipe's models.
  """
  return why_no_landmarks(models) if name.startswith("yolo:") else None


def open_occluder_detector(
  name: str,
  models: str | None,
  video: Path,
  *,
  live: bool = False,
  pace: Pace | None = None,
) -> Detector:
  """Opens a detector of what covers the face.

  Args:
    name: `mediapipe`, `yolo:WEIGHTS.pt[#CLASS][@SCORE]` or `masks:PATH`.
    models: folder of MediaPipe's models, see `diffmvr_jax.files`.
    video: the video that the user's masks belong to.
    live: whether frames come as they are filmed, so that time is short.
    pace: how rarely to look then, if a network looks too, at every frame; None
      if none does.

  Raises:
    InputError: there is no such detector, or its model or masks cannot be
      used.
  """
  kind, _, rest = name.partition(":")
  if kind == "mediapipe" and not rest:
    if live:
      return FollowedHands.open(models, pace=pace)
    return HandDetector(models)
  if kind == "yolo" and rest:
    return _open_yolo(rest, "occluder")
  if kind == "masks" and rest:
    return UserMasks(rest, video)
  raise InputError(
    f"--occluder {name}: expected mediapipe, yolo:WEIGHTS.pt or masks:PATH"
  )


def check_occluder_detector(name: str, models: str | None) -> None:
  """Opens as much of a detector of occluders as no video is needed for.

  Args:
    name: as `open_occluder_detector` takes it.
    models: folder of MediaPipe's models.

  Raises:
    InputError: there is no such detector, model, or file of masks.
  """
  kind, _, path = name.partition(":")
  if kind != "masks" or not path:
    open_occluder_detector(name, models, Path()).close()
  elif not Path(path).exists():
    raise InputError(f"{path}: no such file or folder of masks")


def _open_yolo(described: str, role: str) -> Detector:
  """Opens the detector that `WEIGHTS.pt[#CLASS][@SCORE]` describes."""
  parts = _YOLO.fullmatch(described)
  assert parts is not None
  path, label, score = parts.groups()
  confidence = float(score or YoloDetector.CONFIDENCE)
  if confidence > 1:
    raise InputError(
      f"yolo:{described}: the score {score} is not within [0, 1]"
    )
  return YoloDetector(path, label or None, role=role, confidence=confidence)
