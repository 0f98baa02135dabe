"""Opens clips: video files, frames in memory, and what a command names."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePath

import numpy as np
from etils import epath

from data_prep import portraits
from data_prep.clip import Clip, Frame
from data_prep.drawn_clips import PortraitSource, procedural_id
from data_prep.procedural import FRAMES
from data_prep.stills import StillSource
from diffmvr_jax.buckets import files_below, in_bucket
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import sha256
from diffmvr_jax.media import video
from diffmvr_jax.media.sources import Source

# A file, one in a bucket, the seed of a drawn clip, a clip that is drawn from a
# portrait, or a still image.
VideoSource = Path | epath.Path | int | PortraitSource | StillSource

# Bytes; file systems take 255, of which the shards' suffixes need some.
_LONGEST_NAME = 200
_MOST_DRAWN = 100_000  # clips, of one `procedural:`


def file_clip(path: Path) -> Clip:
  """Opens a video file.

  Raises:
    InputError: there is no such file, or it is no video.
  """
  try:
    length = len(path.name.encode())
  except UnicodeEncodeError as error:
    raise InputError(f"{path}: its name is not UTF-8; rename it") from error
  if length > _LONGEST_NAME:
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


def at_rate(clip: Clip, fps: Fraction) -> Clip:
  """The clip with frames at even times; some of its own may come twice.

  Args:
    clip: the video.
    fps: frames per second. Each frame is what the video shows at its time.
  """

  def frames() -> Iterator[Frame]:
    count, shown = 0, None
    for frame in clip.frames():
      while shown is not None and count / fps < frame.time:
        yield Frame(shown.image, count, count / fps)
        count += 1
      shown = frame
    if shown is not None:  # which stays for as long as the others do
      while count / fps < shown.time + 1 / clip.fps:
        yield Frame(shown.image, count, count / fps)
        count += 1

  return replace(clip, fps=fps, frames=frames)


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


def id_of(source: VideoSource) -> str:
  """Returns the `video_id` of a source's clip."""
  if isinstance(source, int):
    return procedural_id(source)
  return source.stem if isinstance(source, PurePath) else source.video_id


def frame_estimate(source: VideoSource) -> int:
  """Returns the number of frames that a header gives; 0 if it gives none.

  It is 0 as well for a video in a bucket, which would have to be fetched.
  """
  if isinstance(source, int):
    return FRAMES
  if isinstance(source, epath.Path):
    return 0
  if isinstance(source, PortraitSource):
    return portraits.FRAMES
  if isinstance(source, StillSource):
    return 1
  try:
    return video.frame_estimate(source)
  except InputError:
    return 0  # the error is reported when the video is opened


def expand(names: list[str], clips_per_portrait: int = 1) -> list[VideoSource]:
  """Resolves command-line sources to files, portraits and procedural seeds.

  Args:
    names: video files, folders of them, `portraits:DIR` or `portraits:FILE`,
      `stills:DIR` or `stills:FILE`, `procedural:SEED` or
      `procedural:FIRST-LAST`; files and folders may lie in a bucket.
    clips_per_portrait: number of clips that each portrait gives.

  Raises:
    InputError: there is no such file, or no video in a folder.
  """
  sources: list[VideoSource] = []
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
    if name.startswith("stills:"):
      stills = _portraits(Path(name.removeprefix("stills:")))
      sources.extend(StillSource(path) for path in stills)
      continue
    if in_bucket(name):
      sources.extend(_videos_in_bucket(epath.Path(name)))
      continue
    path = Path(name)
    if path.is_dir():
      files = sorted(
        p for p in path.iterdir() if p.suffix.lower() in video.SUFFIXES
      )
      if not files:
        raise InputError(
          f"{path}: no video in this folder; if it holds pictures of different "
          f"people, give stills:{path}"
        )
      sources.extend(files)
    elif path.is_file():
      sources.append(path)
    else:
      raise InputError(f"{path}: no such file")
  return sources


def _videos_in_bucket(path: epath.Path) -> list[epath.Path]:
  files = [
    p
    for p in files_below(path)
    if path in (p, p.parent) and p.suffix.lower() in video.SUFFIXES
  ]
  if not files:
    raise InputError(f"{path}: no video here")
  return files


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
  match = re.fullmatch(r"(?a:procedural:(\d{1,9})(?:-(\d{1,9}))?)", name)
  if match is None:
    raise InputError(
      f"{name}: expected procedural:SEED or procedural:FIRST-LAST, each of at "
      "most 9 digits"
    )
  seeds = range(int(match[1]), int(match[2] or match[1]) + 1)
  if not 1 <= len(seeds) <= _MOST_DRAWN:
    raise InputError(
      f"{name}: {len(seeds)} clips; from 1 to {_MOST_DRAWN} can be drawn"
    )
  return seeds
