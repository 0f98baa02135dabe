"""Still images as clips: the paper's static video of each.

Appendix E and section 4.2 score image by image, and turn each image into a
video of 20 seconds for methods that need one. A still is one frame, or the same
frame again and again; what is pasted over it stands still as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from data_prep.clip import Clip, Frame
from data_prep.detections import Detections, Detector
from diffmvr_jax.files import sha256
from diffmvr_jax.media.pictures import read_picture

FPS = Fraction(25)  # where the user names none


@dataclass(frozen=True)
class StillSource:
  """A still image of a person, who is a subject of their own.

  Attributes:
    path: path of the picture.
  """

  path: Path

  def __str__(self) -> str:
    """Returns the path."""
    return str(self.path)

  @property
  def video_id(self) -> str:
    """Name that is unique in an export."""
    return self.path.stem


def still_clip(
  source: StillSource, fps: Fraction | None, seconds: Fraction
) -> Clip:
  """Opens a still image as a clip.

  Args:
    source: the picture.
    fps: frames per second; None means `FPS`.
    seconds: length of the clip; 0 means one frame.

  Raises:
    InputError: it is not a picture.
  """
  fps = fps or FPS
  image = read_picture(source.path)

  def frames() -> Iterator[Frame]:
    for index in range(max(1, round(seconds * fps))):
      yield Frame(image, index, index / fps)

  return Clip(
    video_id=source.video_id,
    path=str(source.path),
    digest=sha256(source.path),
    fps=fps,
    frames=frames,
    still=True,
  )


class OnceDetector:
  """A detector that looks once, for clips whose frames are all alike.

  Args:
    detector: what looks; it is closed with this one.
  """

  overlooks = False  # all frames have the same

  def __init__(self, detector: Detector):
    self._detector = detector
    self._found: Detections | None = None

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Returns what is in the first frame."""
    if self._found is None:
      self._found = self._detector(image, index)
    return self._found

  def close(self) -> None:
    """Closes the detector."""
    self._detector.close()


def at_rest(
  paste: Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]],
  image: np.ndarray,
  covers: Callable[[np.ndarray], float],
  enough: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Pastes over a still at a time at which what comes and goes is there.

  Args:
    paste: takes an image and ascending times in seconds.
    image: the still.
    covers: gives the share of the face that a mask covers.
    enough: the share with which the search ends; after 20 seconds the largest
      counts.

  Returns:
    The image with what is pasted, and its mask.
  """
  best, most = (image, np.zeros(image.shape[:2], np.uint8)), -1.0
  for tenth in range(200):
    pasted = paste(image, tenth / 10)
    share = covers(pasted[1])
    if share > most:
      best, most = pasted, share
    if share >= enough:
      break
  return best
