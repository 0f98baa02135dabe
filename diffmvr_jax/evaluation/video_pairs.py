"""Restored videos beside their truth, some frames at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from diffmvr_jax.errors import InputError
from diffmvr_jax.media.sources import IMAGES, open_source

_CHUNK = 64  # frames in memory
_VIDEOS = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v"}

# (n, h, w, 3) restored and true frames, (n, h, w, 1) masks.
Chunk = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class VideoPair:
  """A restored video and its truth.

  Attributes:
    name: name of the video.
    prediction: the restored video, a file or a folder of pictures.
    target: the truth, a file or a folder of pictures.
    mask: a video or a folder of pictures, white on what was covered; None
      counts every pixel.
  """

  name: str
  prediction: Path
  target: Path
  mask: Path | None

  def chunks(self) -> Iterator[Chunk]:
    """Reads the videos side by side.

    Raises:
      InputError: sizes or numbers of frames differ, or one cannot be read.
    """
    targets = _images(self.target)
    companions = {
      path: _images(path) for path in (self.prediction, self.mask) if path
    }
    count = 0
    while target := list(islice(targets, _CHUNK)):
      shape = target[0].shape
      chunk = {
        path: self._next(images, path, target, count)
        for path, images in companions.items()
      }
      count += len(target)
      mask = (
        np.full((len(target), *shape), 255, np.uint8)
        if self.mask is None
        else np.stack(chunk[self.mask])
      )
      yield np.stack(chunk[self.prediction]), np.stack(target), _binary(mask)
    if not count:
      raise InputError(f"{self.target}: no frame can be decoded")
    for path, images in companions.items():
      if next(images, None) is not None:
        raise InputError(
          f"{path}: has more frames than {self.target} ({count})"
        )

  def _next(
    self,
    images: Iterator[np.ndarray],
    path: Path,
    target: list[np.ndarray],
    before: int,
  ) -> list[np.ndarray]:
    """As many images as `target` has, of its size; `before` came before."""
    found = list(islice(images, len(target)))
    if len(found) < len(target):
      raise InputError(
        f"{path}: ends after {before + len(found)} frames, {self.target} goes "
        "on"
      )
    if found[0].shape != target[0].shape:
      raise InputError(
        f"{path}: is {_size(found[0])}, {self.target} is {_size(target[0])}"
      )
    return found


def find_pairs(
  prediction: Path, target: Path, mask: Path | None
) -> list[VideoPair]:
  """Pairs two videos, or the videos of one name in two folders.

  Args:
    prediction: a video file, a folder of pictures, or a folder of these.
    target: the truth, of the same kind.
    mask: masks of the same kind, or None.

  Raises:
    InputError: a target has no prediction, or no mask.
  """
  if not target.exists():
    raise InputError(f"{target}: no such file or folder")
  if not _holds_videos(target):
    return [
      VideoPair(
        name=_name_of(target), prediction=prediction, target=target, mask=mask
      )
    ]
  targets = _by_name(target)
  return [
    VideoPair(
      name=name,
      prediction=find_video(prediction, name),
      target=path,
      mask=None if mask is None else find_video(mask, name),
    )
    for name, path in targets.items()
  ]


def find_video(folder: Path, name: str) -> Path:
  """The video file, or folder of pictures, that has this name.

  Raises:
    InputError: there is none.
  """
  path = _by_name(folder).get(name) if folder.is_dir() else None
  if path is None:
    raise InputError(f"{folder / name}: no such video, or folder of pictures")
  return path


def read_video(path: Path) -> np.ndarray:
  """All frames of a video or a folder of pictures, (n, h, w, 3) uint8.

  Raises:
    InputError: it cannot be read.
  """
  images = list(_images(path))
  if not images:
    raise InputError(f"{path}: no frame can be decoded")
  return np.stack(images)


def _images(path: Path) -> Iterator[np.ndarray]:
  if not path.exists():
    raise InputError(f"{path}: no such file or folder")
  return (frame.image for frame in open_source(path).frames)


def _holds_videos(path: Path) -> bool:
  return path.is_dir() and not any(
    p.suffix.lower() in IMAGES for p in path.iterdir()
  )


def _by_name(folder: Path) -> dict[str, Path]:
  found = {
    _name_of(path): path
    for path in sorted(folder.iterdir())
    if path.is_dir() or path.suffix.lower() in _VIDEOS
  }
  if not found:
    raise InputError(f"{folder}: no video, and no picture, in this folder")
  return found


def _name_of(path: Path) -> str:
  """A video's name without its suffix; a folder's name may hold a dot."""
  return path.name if path.is_dir() else path.stem


def _binary(masks: np.ndarray) -> np.ndarray:
  """Masks of 0 and 1, of 0/1 or 0/255 with some loss from compression."""
  brightest = masks.max(axis=(1, 2, 3), keepdims=True)
  threshold = np.where(brightest > 1, 127, 0)
  return (masks[..., :1] > threshold).astype(np.uint8)


def _size(image: np.ndarray) -> str:
  return f"{image.shape[1]}x{image.shape[0]}"
