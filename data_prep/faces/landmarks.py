"""The 21 face landmarks that crops and symmetry are built on.

Every source of landmarks (MediaPipe, the procedural faces) delivers them in
one order: the points of the subject's right side, the same points of the left
side, then the points on the midline. Shapes are (21, 2), in pixels, x first.
"""

import numpy as np

# MediaPipe face-mesh indices of (right, left) counterparts.
MEDIAPIPE_PAIRS = (
  (33, 263),  # outer eye corner
  (133, 362),  # inner eye corner
  (70, 300),  # outer brow
  (61, 291),  # mouth corner
  (54, 284),  # temple
  (234, 454),  # cheek bone
  (172, 397),  # jaw
  (150, 379),  # side of the chin
)
# Forehead, between the eyes, nose tip, upper lip, chin.
MEDIAPIPE_MIDLINE = (10, 168, 1, 0, 152)
PAIRS = len(MEDIAPIPE_PAIRS)
COUNT = 2 * PAIRS + len(MEDIAPIPE_MIDLINE)
_OUTER_EYE, _MOUTH, _CHEEK, _NOSE_TIP = 0, 3, 5, 18
_OVAL = (4, 5, 6, 7, 12, 13, 14, 15, 16, 20)


def from_mediapipe(mesh: np.ndarray) -> np.ndarray:
  """Picks the 21 landmarks from MediaPipe's (478, 2) mesh."""
  right, left = zip(*MEDIAPIPE_PAIRS, strict=True)
  return mesh[[*right, *left, *MEDIAPIPE_MIDLINE]].astype(np.float32)


def roll(landmarks: np.ndarray) -> float:
  """Returns the angle of the line between the eyes, in radians; 0 is level."""
  eyes = landmarks[_OUTER_EYE + PAIRS] - landmarks[_OUTER_EYE]
  return float(np.arctan2(eyes[1], eyes[0]))


def extent(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
  """Returns the face's centre and its larger side, in pixels."""
  outline = landmarks[list(_OVAL)]
  angle = -roll(landmarks)
  rotation = np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )
  upright = outline @ rotation.T
  low, high = upright.min(0), upright.max(0)
  return (low + high) / 2 @ rotation, float((high - low).max())


def oval(landmarks: np.ndarray) -> np.ndarray:
  """Returns the face's outline points, (10, 2); their hull is the face."""
  return landmarks[list(_OVAL)]


def cheek(landmarks: np.ndarray) -> np.ndarray:
  """Returns a square on the right cheek: left, top, right, bottom."""
  centre = (landmarks[_CHEEK] + landmarks[_MOUTH]) / 2
  half = 0.3 * np.linalg.norm(landmarks[_MOUTH] - landmarks[_MOUTH + PAIRS])
  return np.concatenate([centre - half, centre + half])


def asymmetry(landmarks: np.ndarray) -> float:
  """Returns how far the head is turned: 0 is frontal, 1 is profile.

  It compares the nose tip's distances to the two cheek bones.
  """
  nose = landmarks[_NOSE_TIP]
  right = np.linalg.norm(nose - landmarks[_CHEEK])
  left = np.linalg.norm(nose - landmarks[_CHEEK + PAIRS])
  return float(abs(right - left) / max(right + left, 1e-6))
