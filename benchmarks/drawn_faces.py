"""The drawn person's face, known rather than found."""

import numpy as np

from data_prep.detections import Detections
from data_prep.procedural import SIZE, ProceduralVideo


class DrawnFaces:
  """Landmarks of drawn clip 0, over and over, as a detector.

  Args:
    side: of the frames, in pixels.
  """

  overlooks = False

  def __init__(self, side: int):
    self._landmarks = [
      points * (side / SIZE) for points in ProceduralVideo(0).landmarks()
    ]

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Returns the face of frame `index`."""
    del image
    points = self._landmarks[index % len(self._landmarks)][None]
    return Detections(
      boxes=np.concatenate([points.min(1), points.max(1)], axis=1),
      scores=np.ones(1, np.float32),
      landmarks=points.astype(np.float32),
    )

  def close(self) -> None:
    """Nothing to free."""
