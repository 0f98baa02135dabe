"""Where clips come from: video files, portraits, or drawn faces."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from diffmvr_jax.files import sha256

from data_prep import portraits
from data_prep.detectors.interface import Detections
from data_prep.procedural import FPS, FRAMES, ProceduralVideo
from diffmvr_jax.errors import InputError
from diffmvr_jax.media import video
from diffmvr_jax.media.sources import Source

# Bytes; file systems take 255, of which the shards' suffixes need some.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Frame:
  """One frame of a clip.

  Attributes:
    image: (h, w, 3) uint8, upright.
    index: from 0.
    time: of presentation, in seconds, exact.
  """

  image: np.ndarray
  index: int
  time: Fraction


@dataclass(frozen=True, kw_only=True)
class Clip:
  """A clip that can be read more than once.

  Attributes:
    video_id: unique in an export.
    path: the file, or the procedural source's name.
    digest: SHA-256 of what the clip is read from.
    fps: average frames per second, exact.
    frames: starts reading.
  """

  video_id: str
  path: str
  digest: str
  fps: Fraction
  frames: Callable[[], Iterator[Frame]]


def file_clip(path: Path) -> Clip:
  """A video file.

  Raises:
    InputError: no such file, or not a video.
  """
  if len(path.name.encode()) > _LONGEST_NAME:
    raise InputError(f"{path}: its name is too long for shards; shorten it")
  info = video.probe(path)

  def frames() -> Iterator[Frame]:
    for index, timed in enumerate(video.read_frames(path)):
      yield Frame(timed.image, index, timed.pts * info.time_base)

  return Clip(
    video_id=path.stem,
    path=str(path),
    digest=sha256(path),
    fps=info.fps,
    frames=frames,
  )


def array_clip(images: Iterable[np.ndarray], fps: Fraction) -> Clip:
  """Frames in memory, or from wherever an iterator takes them.

  Args:
    images: (h, w, 3) uint8 each.
    fps: frames per second.
  """

  def frames() -> Iterator[Frame]:
    for index, image in enumerate(images):
      yield Frame(image, index, index / fps)

  return Clip(video_id="frames", path="", digest="", fps=fps, frames=frames)


def source_clip(source: Source) -> Clip:
  """Anything that can be restored; it can be read once."""

  def frames() -> Iterator[Frame]:
    for index, timed in enumerate(source.frames):
      yield Frame(timed.image, index, timed.pts * source.info.time_base)

  return Clip(
    video_id=Path(source.name).stem,
    path=source.name,
    digest="",
    fps=source.info.fps,
    frames=frames,
  )


def procedural_clip(seed: int) -> tuple[Clip, "KnownFaces"]:
  """A drawn clip and its face."""
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
    path: of the portrait.
    number: of the clip, from 0.
  """

  path: Path
  number: int = 0

  def __str__(self) -> str:
    """The path, and the number of a further clip."""
    return f"{self.path}#{self.number}" if self.number else str(self.path)

  @property
  def video_id(self) -> str:
    """Unique in an export."""
    stem = self.path.stem
    return f"{stem}@{self.number}" if self.number else stem


def portrait_clip(
  source: PortraitSource, seed: int, models: str | None = None
) -> tuple[Clip, "KnownFaces"]:
  """Draws a clip from a portrait.

  Args:
    source: which one.
    seed: of motion, light and camera.
    models: folder of MediaPipe's models.

  Raises:
    InputError: not a picture, or no face in it.
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
  """The exact landmarks of a drawn clip, as a detector.

  Args:
    landmarks: (21, 2) of every frame, in pixels.
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
  """The `video_id` of a drawn clip."""
  return f"procedural_{seed:05d}"


def id_of(source: Path | int | PortraitSource) -> str:
  """The `video_id` of a source's clip."""
  if isinstance(source, int):
    return procedural_id(source)
  return source.stem if isinstance(source, Path) else source.video_id


def frame_estimate(source: Path | int | PortraitSource) -> int:
  """How many frames a source has, as its header says; 0 where it does not."""
  if isinstance(source, int):
    return FRAMES
  if isinstance(source, PortraitSource):
    return portraits.FRAMES
  try:
    return video.frame_estimate(source)
  except InputError:
    return 0  # reported when it is opened


def expand(
  names: list[str], clips_per_portrait: int = 1
) -> list[Path | int | PortraitSource]:
  """Resolves command-line sources to files, portraits and procedural seeds.

  Args:
    names: video files, folders of them, `portraits:DIR` or `portraits:FILE`,
      `procedural:SEED` or `procedural:FIRST-LAST`.
    clips_per_portrait: how many clips each portrait gives.

  Raises:
    InputError: nothing there.
  """
  sources: list[Path | int | PortraitSource] = []
  for name in names:
    if name.startswith("procedural:"):
      sources.extend(_seeds(name))
      continue
    if name.startswith("portraits:"):
      sources.extend(
        PortraitSource(path, number)
        for path in _portraits(Path(name.removeprefix("portraits:")))
        for number in range(clips_per_portrait)
      )
      continue
    path = Path(name)
    if path.is_dir():
      files = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
      if not files:
        raise InputError(f"{path}: no video in this folder")
      sources.extend(files)
    elif path.is_file():
      sources.append(path)
    else:
      raise InputError(f"{path}: no such file")
  return sources


_SUFFIXES = {
  *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts"),
  *(".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv", ".gif", ".mxf"),
}


_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def _portraits(path: Path) -> list[Path]:
  if path.is_file():
    return [path]
  if not path.is_dir():
    raise InputError(f"{path}: no such file or folder of portraits")
  files = sorted(p for p in path.iterdir() if p.suffix.lower() in _PICTURES)
  if not files:
    raise InputError(f"{path}: no picture in this folder")
  return files


def _seeds(name: str) -> range:
  first, _, last = name.removeprefix("procedural:").partition("-")
  try:
    return range(int(first), int(last or first) + 1)
  except ValueError as error:
    raise InputError(
      f"{name}: expected procedural:SEED or procedural:FIRST-LAST"
    ) from error
