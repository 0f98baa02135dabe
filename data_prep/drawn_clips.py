"""Opens clips that are drawn: from a seed, or from a still portrait."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep import portraits
from data_prep.clip import Clip, Frame
from data_prep.detections import Detections
from data_prep.procedural import FPS, ProceduralVideo


def procedural_clip(seed: int) -> tuple[Clip, "KnownFaces"]:
  """Opens a drawn clip, and a detector that knows its face."""
  name = f"procedural:{seed}"

  def frames() -> Iterator[Frame]:
    for index, (image, _) in enumerate(ProceduralVideo(seed).frames()):
      yield Frame(image, index, index / FPS)

  clip = Clip(
    video_id=procedural_id(seed),
    path=name,
    digest=hashlib.sha256(name.encode()).hexdigest(),
    fps=FPS,
    frames=frames,
  )
  return clip, KnownFaces(ProceduralVideo(seed).landmarks())


@dataclass(frozen=True)
class PortraitSource:
  """One of the clips that are drawn from a portrait.

  Attributes:
    path: path of the portrait.
    number: number of the clip, from 0.
  """

  path: Path
  number: int = 0

  def __str__(self) -> str:
    """Returns the path, and the number if it is not the first clip."""
    return f"{self.path}#{self.number}" if self.number else str(self.path)

  @property
  def video_id(self) -> str:
    """Name that is unique in an export."""
    stem = self.path.stem
    return f"{stem}@{self.number}" if self.number else stem


def portrait_clip(
  source: PortraitSource, seed: int, models: str | None = None
) -> tuple[Clip, "KnownFaces"]:
  """Draws a clip from a portrait; with it, a detector that knows its face.

  Args:
    source: the portrait, and which of its clips.
    seed: decides motion, light and camera.
    models: folder of MediaPipe's models.

  Raises:
    InputError: it is not a picture, or there is no face in it.
  """
  portrait = portraits.load(source.path, models)
  drawn = portraits.PortraitClip(portrait, seed)

  def frames() -> Iterator[Frame]:
    for index, frame in enumerate(drawn.frames()):
      yield Frame(frame.image, index, index / drawn.fps)

  clip = Clip(
    video_id=source.video_id,
    path=str(source),
    digest=portrait.digest,
    fps=drawn.fps,
    frames=frames,
  )
  return clip, KnownFaces(drawn.landmarks())


class KnownFaces:
  """A detector that knows the exact landmarks of a drawn clip.

  Args:
    landmarks: (21, 2) float32 of every frame, in pixels.
  """

  overlooks = False

  def __init__(self, landmarks: Iterable[np.ndarray]):
    self._landmarks = [points[None] for points in landmarks]

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Returns the face of frame `index`."""
    del image
    points = self._landmarks[index]
    return Detections(
      boxes=np.concatenate([points.min(1), points.max(1)], axis=1),
      scores=np.ones(1, np.float32),
      landmarks=points,
    )

  def close(self) -> None:
    """Nothing to free."""


def procedural_id(seed: int) -> str:
  """Returns the `video_id` of a drawn clip."""
  return f"procedural_{seed:05d}"
