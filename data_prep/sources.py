"""Opens clips: video files, frames in memory, and drawn faces."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from data_prep.detectors.interface import Detections
from data_prep.procedural import FPS, FRAMES, ProceduralVideo
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import sha256
from diffmvr_jax.media import video
from diffmvr_jax.media.sources import Source

# Bytes; file systems take 255, of which the shards' suffixes need some.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Frame:
  """One frame of a clip.

  Attributes:
    image: (h, w, 3) uint8, upright.
    index: number of the frame, from 0.
    time: exact time of presentation, in seconds.
  """

  image: np.ndarray
  index: int
  time: Fraction


@dataclass(frozen=True, kw_only=True)
class Clip:
  """A clip, which can be read more than once unless it comes from a stream.

  Attributes:
    video_id: name that is unique in an export.
    path: path of the file, or name of the drawn clip.
    digest: SHA-256 of what the clip is read from; empty if it is no file.
    fps: exact average of frames per second.
    frames: starts to read the clip.
  """

  video_id: str
  path: str
  digest: str
  fps: Fraction
  frames: Callable[[], Iterator[Frame]]


def file_clip(path: Path) -> Clip:
  """Opens a video file.

  Raises:
    InputError: there is no such file, or it is no video.
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
  """Makes a clip of frames in memory, or from any other iterable.

  Args:
    images: images of shape (h, w, 3), uint8.
    fps: frames per second.
  """

  def frames() -> Iterator[Frame]:
    for index, image in enumerate(images):
      yield Frame(image, index, index / fps)

  return Clip(video_id="frames", path="", digest="", fps=fps, frames=frames)


def source_clip(source: Source) -> Clip:
  """Makes a clip, which can be read once, of anything that can be restored."""

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


def procedural_clip(seed: int) -> Clip:
  """Opens a drawn clip; `KnownFaces` finds its face."""
  name = f"procedural:{seed}"

  def frames() -> Iterator[Frame]:
    for index, (image, _) in enumerate(ProceduralVideo(seed).frames()):
      yield Frame(image, index, index / FPS)

  return Clip(
    video_id=procedural_id(seed),
    path=name,
    digest=hashlib.sha256(name.encode()).hexdigest(),
    fps=FPS,
    frames=frames,
  )


class KnownFaces:
  """A detector that knows the exact landmarks of a drawn clip."""

  overlooks = False

  def __init__(self, seed: int):
    self._landmarks = [
      points[None] for points in ProceduralVideo(seed).landmarks()
    ]

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


def frame_estimate(source: Path | int) -> int:
  """Returns the number of frames that a header gives; 0 if it gives none."""
  if isinstance(source, int):
    return FRAMES
  try:
    return video.frame_estimate(source)
  except InputError:
    return 0  # the error is reported when the video is opened


def expand(names: list[str]) -> list[Path | int]:
  """Resolves command-line sources to files and procedural seeds.

  Args:
    names: video files, folders of them, `procedural:SEED` or
      `procedural:FIRST-LAST`.

  Raises:
    InputError: there is no such file, or no video in a folder.
  """
  sources: list[Path | int] = []
  for name in names:
    if name.startswith("procedural:"):
      sources.extend(_seeds(name))
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


def _seeds(name: str) -> range:
  first, _, last = name.removeprefix("procedural:").partition("-")
  try:
    return range(int(first), int(last or first) + 1)
  except ValueError as error:
    raise InputError(
      f"{name}: expected procedural:SEED or procedural:FIRST-LAST"
    ) from error
