"""Restored videos beside their truth, a stretch of frames at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from diffmvr_jax.errors import InputError
from diffmvr_jax.media.sources import IMAGES, open_source

_STRETCH = 64  # frames in memory
_VIDEOS = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v"}


@dataclass(frozen=True, kw_only=True)
class Pair:
  """A restored video and its truth.

  Attributes:
    name: of the video.
    prediction: a video file, or a folder of pictures.
    target: likewise.
    mask: likewise, white on what was covered; None: everything counts.
  """

  name: str
  prediction: Path
  target: Path
  mask: Path | None

  def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Stretches of (n, h, w, 3) restored and true frames, (n, h, w, 1) masks.

    Raises:
      InputError: sizes or numbers of frames differ, or one cannot be read.
    """
    targets = _images(self.target)
    predictions = _images(self.prediction)
    masks = None if self.mask is None else _images(self.mask)
    seen = 0
    while truth := list(islice(targets, _STRETCH)):
      shape = truth[0].shape
      restored = self._next(predictions, self.prediction, len(truth), seen)
      mask = [np.full(shape, 255, np.uint8)] * len(truth)
      if masks is not None and self.mask is not None:
        mask = self._next(masks, self.mask, len(truth), seen)
      for path, images in ((self.prediction, restored), (self.mask, mask)):
        if images[0].shape != shape:
          raise InputError(
            f"{path}: is {_size(images[0])}, {self.target} is {_size(truth[0])}"
          )
      seen += len(truth)
      yield np.stack(restored), np.stack(truth), _binary(np.stack(mask))
    if not seen:
      raise InputError(f"{self.target}: no frame can be decoded")
    for path, rest in ((self.prediction, predictions), (self.mask, masks)):
      if rest is not None and next(rest, None) is not None:
        raise InputError(f"{path}: has more frames than {self.target} ({seen})")

  def _next(
    self, images: Iterator[np.ndarray], path: Path, count: int, seen: int
  ) -> list[np.ndarray]:
    found = list(islice(images, count))
    if len(found) < count:
      raise InputError(
        f"{path}: ends after {seen + len(found)} frames, {self.target} goes on"
      )
    return found


def find_pairs(prediction: Path, target: Path, mask: Path | None) -> list[Pair]:
  """Pairs videos, or those of one name in folders.

  Args:
    prediction: a video file, a folder of pictures, or a folder of these.
    target: likewise.
    mask: likewise, or None.

  Raises:
    InputError: a target has no prediction, or no mask.
  """
  if not target.exists():
    raise InputError(f"{target}: no such file or folder")
  if not _holds_videos(target):
    return [
      Pair(name=target.stem, prediction=prediction, target=target, mask=mask)
    ]
  targets = _by_name(target)
  return [
    Pair(
      name=name,
      prediction=find_video(prediction, name),
      target=path,
      mask=None if mask is None else find_video(mask, name),
    )
    for name, path in targets.items()
  ]


def find_video(folder: Path, name: str) -> Path:
  """The video file, or folder of pictures, of a name.

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
    path.stem: path
    for path in sorted(folder.iterdir())
    if path.is_dir() or path.suffix.lower() in _VIDEOS
  }
  if not found:
    raise InputError(f"{folder}: no video, and no picture, in this folder")
  return found


def _binary(masks: np.ndarray) -> np.ndarray:
  """Masks of 0 and 1, of 0/1 or 0/255 with some loss from compression."""
  brightest = masks.max(axis=(1, 2, 3), keepdims=True)
  threshold = np.where(brightest > 1, 127, 0)
  return (masks[..., :1] > threshold).astype(np.uint8)


def _size(image: np.ndarray) -> str:
  return f"{image.shape[1]}x{image.shape[0]}"
