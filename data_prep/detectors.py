"""Finding faces and hands with MediaPipe's Tasks API.

MediaPipe ships no models. They are looked up in a folder, by default
`~/.cache/diffmvr`, and fetched into it on first use; the checksum decides.
"""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np

from data_prep import face
from diffmvr_jax.errors import InputError

_STORAGE = "https://storage.googleapis.com/mediapipe-models"
# SHA-256 of the files that are known to be good.
_MODELS = {
  "face_landmarker": {
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
  },
  "hand_landmarker": {
    "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1",
    "1c86c5c3c700a703e2e9e6fa15877dc780353685f1eb9843b2e4f98792d570b2",
  },
}
_PALM = (0, 1, 5, 9, 13, 17)
_FINGERS = tuple(slice(i, i + 4) for i in (1, 5, 9, 13, 17))
# The mask reaches past the landmarks by this share of the hand's length,
# since they lie on the bones, and hands that come and go are blurred.
_HAND_DILATION = 0.11


class FaceDetector:
  """The largest face's landmarks.

  Args:
    models: folder of the model files; None: `~/.cache/diffmvr`.
  """

  def __init__(self, models: str | Path | None = None):
    vision, options = _tasks("face_landmarker", models)
    self._landmarker = vision.FaceLandmarker.create_from_options(
      vision.FaceLandmarkerOptions(
        base_options=options,
        num_faces=4,
        min_face_detection_confidence=0.3,
        min_face_presence_confidence=0.3,
      )
    )

  def __call__(self, image: np.ndarray) -> np.ndarray | None:
    """Returns (21, 2) landmarks in pixels, or None."""
    faces = self._landmarker.detect(_mediapipe_image(image)).face_landmarks
    points = [
      face.from_mediapipe(_pixels(landmarks, image)) for landmarks in faces
    ]
    return max(points, key=lambda p: face.extent(p)[1], default=None)

  def close(self) -> None:
    """Frees MediaPipe's graph; left to the interpreter's exit, it fails."""
    self._landmarker.close()


class HandDetector:
  """A mask over all hands: hulls of palm and fingers, dilated."""

  def __init__(self, models: str | Path | None = None):
    vision, options = _tasks("hand_landmarker", models)
    self._landmarker = vision.HandLandmarker.create_from_options(
      vision.HandLandmarkerOptions(
        base_options=options,
        num_hands=4,
        min_hand_detection_confidence=0.2,
        min_hand_presence_confidence=0.2,
      )
    )

  def __call__(self, image: np.ndarray) -> np.ndarray | None:
    """Returns an (h, w) mask, or None without a hand."""
    hands = self._landmarker.detect(_mediapipe_image(image)).hand_landmarks
    if not hands:
      return None
    mask = np.zeros(image.shape[:2], np.uint8)
    for landmarks in hands:
      _paint_hand(mask, _pixels(landmarks, image))
    return mask

  def close(self) -> None:
    """Frees MediaPipe's graph; left to the interpreter's exit, it fails."""
    self._landmarker.close()


def model_path(name: str, models: str | Path | None = None) -> Path:
  """Finds a model file, fetching it where there is none.

  Raises:
    InputError: it cannot be fetched, or its checksum is wrong.
  """
  folder = Path(models or os.path.expanduser("~/.cache/diffmvr"))
  path = folder / f"{name}.task"
  url = f"{_STORAGE}/{name}/{name}/float16/1/{name}.task"
  if not path.is_file():
    try:
      with urllib.request.urlopen(url, timeout=60) as response:
        data = response.read()
    except (urllib.error.URLError, OSError) as error:
      raise InputError(
        f"{path}: not there, and {url} cannot be fetched ({error}); put the "
        "file there or name its folder with --models"
      ) from error
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  if digest not in _MODELS[name]:
    raise InputError(
      f"{path}: checksum {digest[:12]}… is not {name}'s; delete it"
    )
  return path


def _tasks(name: str, models: str | Path | None):
  # Without this the C++ side writes a page of notices to stderr.
  os.environ.setdefault("GLOG_minloglevel", "2")
  try:
    from mediapipe.tasks import python
    from mediapipe.tasks.python import vision
  except ImportError as error:
    raise InputError(
      f"mediapipe is not installed ({error}); pip install '.[data-prep]'"
    ) from error
  path = model_path(name, models)
  return vision, python.BaseOptions(model_asset_path=str(path))


def _mediapipe_image(image: np.ndarray):
  import mediapipe

  return mediapipe.Image(
    image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
  )


def _pixels(landmarks, image: np.ndarray) -> np.ndarray:
  height, width = image.shape[:2]
  return np.array([(p.x * width, p.y * height) for p in landmarks]) - 0.5


def _paint_hand(mask: np.ndarray, points: np.ndarray) -> None:
  """Marks palm and fingers, dilated.

  A forearm extrapolated from them is left out: where MediaPipe confuses wrist
  and fingers, which motion blur makes it do, it would cross a free face.
  """
  length = max(float(np.ptp(points, axis=0).max()), 1.0)
  width = max(2, round(2 * _HAND_DILATION * length))
  palm = cv2.convexHull(points[list(_PALM)].astype(np.float32))
  palm = palm.round().astype(np.int32)
  cv2.fillConvexPoly(mask, palm, 1)
  cv2.polylines(mask, [palm], True, 1, width)
  for finger in _FINGERS:
    bones = points[finger].round().astype(np.int32)
    cv2.polylines(mask, [bones], False, 1, width)
