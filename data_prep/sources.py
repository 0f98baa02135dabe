"""Where clips come from: video files, or drawn faces (`procedural:SEED`)."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.procedural import FPS, ProceduralVideo
from diffmvr_jax.data.records import sha256
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference import video

Detector = Callable[[np.ndarray], np.ndarray | None]


@dataclass(frozen=True, kw_only=True)
class Clip:
  """A clip that can be read more than once.

  Attributes:
    video_id: unique in an export.
    path: the file, or the procedural source's name.
    digest: SHA-256 of what the clip is read from.
    fps: frames per second.
    images: starts reading the frames, (h, w, 3) uint8.
    landmarks: starts finding each frame's (21, 2) landmarks, None where
      there is no face.
  """

  video_id: str
  path: str
  digest: str
  fps: float
  images: Callable[[], Iterator[np.ndarray]]
  landmarks: Callable[[], Iterator[np.ndarray | None]]


def file_clip(path: Path, find_face: Detector) -> Clip:
  """A video file, its face found by `find_face`.

  Raises:
    InputError: no such file, or not a video.
  """
  info = video.probe(path)

  def images() -> Iterator[np.ndarray]:
    return (frame.image for frame in video.read_frames(path))

  return Clip(
    video_id=path.stem,
    path=str(path),
    digest=sha256(path),
    fps=float(info.fps),
    images=images,
    landmarks=lambda: map(find_face, images()),
  )


def procedural_clip(seed: int) -> Clip:
  """A drawn clip with exact landmarks."""
  name = f"procedural:{seed}"
  return Clip(
    video_id=f"procedural_{seed:05d}",
    path=name,
    digest=hashlib.sha256(name.encode()).hexdigest(),
    fps=FPS,
    images=lambda: (image for image, _ in ProceduralVideo(seed).frames()),
    landmarks=lambda: (points for _, points in ProceduralVideo(seed).frames()),
  )


def expand(names: list[str]) -> list[Path | int]:
  """Resolves command-line sources to files and procedural seeds.

  Args:
    names: video files, folders of them, `procedural:SEED` or
      `procedural:FIRST-LAST`.

  Raises:
    InputError: nothing there, or two videos of the same name.
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
  stems = [s.stem for s in sources if isinstance(s, Path)]
  for stem in stems:
    if stems.count(stem) > 1:
      raise InputError(f"{stem}: two videos have this name; rename one of them")
  return sources


_SUFFIXES = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg"}


def _seeds(name: str) -> range:
  first, _, last = name.removeprefix("procedural:").partition("-")
  try:
    return range(int(first), int(last or first) + 1)
  except ValueError as error:
    raise InputError(
      f"{name}: expected procedural:SEED or procedural:FIRST-LAST"
    ) from error
