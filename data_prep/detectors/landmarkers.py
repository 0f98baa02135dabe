"""Faces and hands, found by MediaPipe's landmark models (Tasks API)."""

from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_prep.detections import NOTHING, Detections, bounding_box
from data_prep.detectors.mediapipe_graphs import Graph, model_file
from data_prep.faces.landmarks import from_mediapipe, oval

_PALM = (0, 1, 5, 9, 13, 17)
_FINGERS = tuple(slice(i, i + 4) for i in (1, 5, 9, 13, 17))
# The mask reaches past the landmarks by this share of the hand's length,
# since they lie on the bones, and hands that come and go are blurred.
_HAND_DILATION = 0.11
HAND_CONFIDENCE = 0.2  # low, for hands that are blurred


class FaceDetector:
  """Faces with 21 landmarks each; their box is that of the face's oval.

  It sees the whole picture at 128 px. So it overlooks faces that are smaller
  than an eighth of the picture's longer side.

  Args:
    models: folder of the model files, see `diffmvr_jax.files`.
  """

  overlooks = True

  def __init__(self, models: str | Path | None = None):
    file = model_file("face_landmarker", models)
    # MediaPipe's mode for videos is not used: it would look where the face of
    # the last picture was, and finds no more with that than our windows do.
    self._graph = Graph(
      lambda vision: vision.FaceLandmarker.create_from_options(
        vision.FaceLandmarkerOptions(
          base_options=file,
          num_faces=4,
          min_face_detection_confidence=0.3,
          min_face_presence_confidence=0.3,
        )
      )
    )

  def __call__(self, image: np.ndarray, index: int = 0) -> Detections:
    """Finds the faces of a picture."""
    del index
    faces = self._graph(image).face_landmarks
    if not faces:
      return NOTHING
    return faces_of(
      np.stack([from_mediapipe(_pixels(points, image)) for points in faces])
    )

  def close(self) -> None:
    """Frees MediaPipe's graph."""
    self._graph.close()


class HandDetector:
  """Hands; their masks are hulls of palm and fingers, dilated."""

  overlooks = True

  def __init__(self, models: str | Path | None = None):
    file = model_file("hand_landmarker", models)
    # Frame by frame: a lost hand is looked for again at once.
    self._graph = Graph(
      lambda vision: vision.HandLandmarker.create_from_options(
        vision.HandLandmarkerOptions(
          base_options=file,
          num_hands=4,
          min_hand_detection_confidence=HAND_CONFIDENCE,
          min_hand_presence_confidence=HAND_CONFIDENCE,
        )
      )
    )

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Finds the hands of a frame."""
    del index
    return hands_of(self._graph(image), image)

  def close(self) -> None:
    """Frees MediaPipe's graph."""
    self._graph.close()


def hands_of(result: Any, image: np.ndarray) -> Detections:
  """Makes detections of what MediaPipe's hand landmarker says of a picture."""
  if not result.hand_landmarks:
    return NOTHING
  masks = np.stack(
    [
      _hand_mask(image.shape[:2], _pixels(points, image))
      for points in result.hand_landmarks
    ]
  )
  return Detections(
    boxes=np.stack([bounding_box(mask) for mask in masks]),
    scores=np.array([side[0].score for side in result.handedness]),
    masks=masks,
  )


def faces_of(landmarks: np.ndarray) -> Detections:
  """Makes detections of (n, 21, 2) landmarks; boxes surround the ovals."""
  outlines = np.stack([oval(points) for points in landmarks])
  return Detections(
    boxes=np.concatenate([outlines.min(1), outlines.max(1)], axis=1),
    scores=np.ones(len(landmarks), np.float32),
    landmarks=landmarks,
  )


def face_mesh(
  image: np.ndarray, models: str | Path | None = None
) -> np.ndarray | None:
  """Finds the mesh of the face in a still.

  Args:
    image: (h, w, 3) uint8.
    models: folder of the model files, as of `FaceDetector`.

  Returns:
    (478, 3): x, y, and the depth, away from the camera, in pixels; None: no
    face.
  """
  file = model_file("face_landmarker", models)
  graph = Graph(
    lambda vision: vision.FaceLandmarker.create_from_options(
      vision.FaceLandmarkerOptions(
        base_options=file, min_face_detection_confidence=0.3
      )
    )
  )
  with closing(graph):
    faces = graph(image).face_landmarks
  if not faces:
    return None
  depth = [point.z * image.shape[1] for point in faces[0]]
  return np.column_stack([_pixels(faces[0], image), depth])


def _pixels(landmarks, image: np.ndarray) -> np.ndarray:
  height, width = image.shape[:2]
  return np.array([(p.x * width, p.y * height) for p in landmarks]) - 0.5


def _hand_mask(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
  """Marks palm and fingers, dilated.

  A forearm extrapolated from them is left out: where MediaPipe confuses wrist
  and fingers, which motion blur makes it do, it would cross a free face.
  """
  mask = np.zeros(shape, np.uint8)
  length = max(float(np.ptp(points, axis=0).max()), 1.0)
  width = max(2, round(2 * _HAND_DILATION * length))
  palm = cv2.convexHull(points[list(_PALM)].astype(np.float32))
  palm = palm.round().astype(np.int32)
  cv2.fillConvexPoly(mask, palm, 1)
  cv2.polylines(mask, [palm], True, 1, width)
  for finger in _FINGERS:
    bones = points[finger].round().astype(np.int32)
    cv2.polylines(mask, [bones], False, 1, width)
  return mask
