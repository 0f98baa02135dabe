"""Videos and detectors that the tests make themselves."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from data_prep.clip import Clip, Frame
from data_prep.detections import NOTHING, Detections
from data_prep.faces.landmarks import COUNT
from data_prep.procedural import ProceduralVideo
from data_prep.recipe import Recipe


def drawn(seed=0):
  """Frames and landmarks of a drawn person."""
  images, landmarks = zip(*ProceduralVideo(seed).frames(), strict=True)
  return list(images), list(landmarks)


def write_video(
  path,
  images: Iterable[np.ndarray],
  *,
  codec="libx264",
  pixels="yuv420p",
  fps=Fraction(25),
  times: Sequence[int] | None = None,
  options=None,
  container=None,
):
  """Encodes images; `times` are presentation times in milliseconds."""
  with av.open(str(path), "w", format=container) as output:
    images = list(images)
    stream = output.add_stream(codec, rate=fps, options=options or {})
    stream.height, stream.width = images[0].shape[:2]
    stream.pix_fmt = pixels
    if times is not None:
      stream.time_base = Fraction(1, 1000)
      stream.codec_context.time_base = Fraction(1, 1000)
    for i, image in enumerate(images):
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      if times is not None:
        frame.pts, frame.time_base = times[i], Fraction(1, 1000)
      output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
  return path


def clip_of(images, video_id="clip", fps=Fraction(25)) -> Clip:
  return Clip(
    video_id=video_id,
    path=f"{video_id}.mp4",
    digest="",
    fps=fps,
    frames=lambda: (Frame(image, i, i / fps) for i, image in enumerate(images)),
  )


def detection_of(landmarks) -> Detections:
  if landmarks is None:
    return NOTHING
  points = np.asarray(landmarks, np.float32)[None]
  return Detections(
    boxes=np.concatenate([points.min(1), points.max(1)], axis=1),
    scores=np.ones(1, np.float32),
    landmarks=points,
  )


class Scripted:
  """A detector that says what a function of image and index says."""

  def __init__(
    self,
    say: Callable[[np.ndarray, int], Detections],
    *,
    overlooks: bool = False,
  ):
    self._say, self.overlooks = say, overlooks
    self.asked: list[int] = []

  def __call__(self, image, index):
    self.asked.append(index)
    return self._say(image, index)

  def close(self):
    pass


def listed(landmarks) -> Scripted:
  return Scripted(lambda image, index: detection_of(landmarks[index]))


def masked(masks, *, overlooks=False) -> Scripted:
  """Finds the given masks, None for nothing."""

  def say(image, index):
    mask = masks[index]
    if mask is None:
      return NOTHING
    return Detections(
      boxes=np.array([[0, 0, *mask.shape[::-1]]], np.float32),
      scores=np.ones(1, np.float32),
      masks=mask[None],
    )

  return Scripted(say, overlooks=overlooks)


class CentredFace:
  """Finds a frontal face in the middle of any frame that is not tiny."""

  overlooks = True

  def __call__(self, image, index):
    height, width = image.shape[:2]
    if min(height, width) < 16:
      return NOTHING
    _, landmarks = next(ProceduralVideo(0).frames())
    middle = landmarks.mean(0)
    scale = min(height, width) / 160
    points = (landmarks - middle) * scale + [width / 2, height / 2]
    assert len(points) == COUNT
    return detection_of(points)

  def close(self):
    pass


@dataclass(frozen=True, kw_only=True)
class CentredRecipe(Recipe):
  """A recipe that needs no model for the face."""

  face: str = "centred"

  def face_detector(self):
    return CentredFace() if self.face == "centred" else super().face_detector()

  @classmethod
  def of(cls, recipe: Recipe) -> "CentredRecipe":
    """The same settings, without the default face detector."""
    fields = vars(recipe)
    if recipe.face == "mediapipe":
      fields = fields | {"face": "centred"}
    return cls(**fields)
