"""Whether the restored face is the same person, with the same expression."""

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from diffmvr_jax.errors import InputError

_LARGE = 256  # pixels, below which MediaPipe sees little; smaller are enlarged
_OUTER_EYES = (0, 8)  # among data_prep's 21 landmarks
# Eyes, nose tip and mouth corners, the subject's right side first.
_RIGHT_EYE, _LEFT_EYE, _NOSE, _RIGHT_MOUTH, _LEFT_MOUTH = (
  (0, 1),
  (8, 9),
  (18,),
  (3,),
  (11,),
)


class LandmarkFinder:
  """Finds data_prep's 21 landmarks in frames, by MediaPipe.

  Args:
    folder: folder that has `face_landmarker.task`.

  Raises:
    InputError: MediaPipe is not installed, or the file is not its model.
  """

  def __init__(self, folder: Path):
    from data_prep.detectors.landmarkers import FaceDetector

    self._open = partial(FaceDetector, folder)
    self._open().close()

  def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """(21, 2) landmarks in pixels of each (h, w, 3) image; None: no face."""
    found = []
    with closing(self._open()) as detector:  # at exit it would be too late
      for image in images:
        scale = max(1, -(-_LARGE // min(image.shape[:2])))
        large = cv2.resize(image, None, fx=scale, fy=scale)
        faces = detector(large, 0).landmarks
        found.append(
          None if faces is None or not len(faces) else faces[0] / scale
        )
    return found


class FaceEmbedder:
  """Embeds faces with SFace (Zhong et al. 2021), through OpenCV.

  Args:
    path: the ONNX file.

  Raises:
    InputError: OpenCV cannot read it.
  """

  def __init__(self, path: Path):
    try:
      self._network = cv2.FaceRecognizerSF.create(str(path), "")
    except cv2.error as error:
      raise InputError(f"{path}: not a network for OpenCV") from error

  def __call__(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A unit vector for the face with these (21, 2) landmarks."""
    points = [
      landmarks[list(part)].mean(0)
      for part in (_RIGHT_EYE, _LEFT_EYE, _NOSE, _RIGHT_MOUTH, _LEFT_MOUTH)
    ]
    low, high = landmarks.min(0), landmarks.max(0)
    face = np.concatenate([low, high - low, *points, [1.0]]).astype(np.float32)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    aligned = self._network.alignCrop(bgr, face)
    embedding = self._network.feature(aligned)[0]
    return embedding / np.linalg.norm(embedding)


def landmark_errors(
  restored: np.ndarray, true: np.ndarray, mask: np.ndarray
) -> tuple[float, float]:
  """Mean distance of landmarks, in distances of the true outer eye corners.

  Args:
    restored: (21, 2) in pixels, x first.
    true: (21, 2) in pixels, x first.
    mask: (h, w, 1), 1 where something is covered.

  Returns:
    The mean over all landmarks, and the mean over those whose true place is
    covered, which is NaN if there are none.
  """
  scale = np.linalg.norm(true[_OUTER_EYES[0]] - true[_OUTER_EYES[1]])
  errors = np.linalg.norm(restored - true, axis=1) / scale
  height, width = mask.shape[:2]
  x, y = true.round().astype(int).T
  covered = mask[y.clip(0, height - 1), x.clip(0, width - 1), 0] > 0
  inside = float(errors[covered].mean()) if covered.any() else float("nan")
  return float(errors.mean()), inside


class FaceComparison:
  """Landmark error, and identity if there is a network for it.

  Args:
    landmarks: finds landmarks.
    identity: embeds faces; None leaves identity out.
  """

  def __init__(self, landmarks: LandmarkFinder, identity: FaceEmbedder | None):
    self._landmarks, self._identity = landmarks, identity
    self._last_target: np.ndarray | None = None
    self._target_landmarks: list[np.ndarray | None] = []

  def __call__(
    self, restored: np.ndarray, target: np.ndarray, mask: np.ndarray
  ) -> dict[str, np.ndarray]:
    """By metric, (n,) values; NaN where a frame shows no face."""
    nothing = np.full(len(mask), np.nan)
    values = {"landmarks": nothing.copy(), "landmarks_mask": nothing.copy()}
    if self._identity is not None:
      values["identity"] = nothing.copy()
    landmarks = zip(
      self._landmarks(list(restored)), self._landmarks_of(target), strict=True
    )
    for i, (found, true) in enumerate(landmarks):
      if true is None:
        continue
      if self._identity is not None:
        pair = [self._identity(x[i], true) for x in (restored, target)]
        values["identity"][i] = np.dot(*pair)
      if found is not None:
        errors = landmark_errors(found, true, mask[i])
        values["landmarks"][i], values["landmarks_mask"][i] = errors
    return values

  def _landmarks_of(self, target: np.ndarray) -> list[np.ndarray | None]:
    # Every method is compared with the same truth, one after another.
    if self._last_target is None or not np.array_equal(
      self._last_target, target
    ):
      self._last_target = target
      self._target_landmarks = self._landmarks(list(target))
    return self._target_landmarks
