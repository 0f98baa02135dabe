"""Restored videos beside their truth, some frames at a time."""

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from diffmvr_jax.buckets import Place, copied, entries, is_file, is_folder
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
  prediction: Place
  target: Place
  mask: Place | None

  def chunks(self) -> Generator[Chunk, None, None]:
    """Reads the videos side by side.

    Raises:
      InputError: sizes or numbers of frames differ, or one cannot be read.
    """
    with ExitStack() as stack:

      def opened(path: Place) -> Iterator[np.ndarray]:
        return stack.enter_context(closing(_images(path)))

      targets = opened(self.target)
      companions = {
        path: opened(path) for path in (self.prediction, self.mask) if path
      }
      yield from self._chunks(targets, companions)

  def _chunks(
    self,
    targets: Iterator[np.ndarray],
    companions: Mapping[Place, Iterator[np.ndarray]],
  ) -> Iterator[Chunk]:
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
    path: Place,
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
  prediction: Place, target: Place, mask: Place | None
) -> list[VideoPair]:
  """Pairs two videos, or the videos of one name in two folders.

  Args:
    prediction: a video file, a folder of pictures, or a folder of these.
    target: the truth, of the same kind.
    mask: masks of the same kind, or None.

  Raises:
    InputError: a target has no prediction, or no mask.
  """
  if not _exists(target):
    raise InputError(f"{target}: no such file or folder")
  if not _holds_videos(target):
    return [
      VideoPair(
        name=_name_of(target), prediction=prediction, target=target, mask=mask
      )
    ]
  targets = _by_name(target)
  predictions = find_videos(prediction, targets)
  masks = {} if mask is None else find_videos(mask, targets)
  return [
    VideoPair(
      name=name,
      prediction=predictions[name],
      target=path,
      mask=masks.get(name),
    )
    for name, path in targets.items()
  ]


def find_videos(folder: Place, names: Collection[str]) -> dict[str, Place]:
  """The video files, or folders of pictures, that have these names.

  Raises:
    InputError: one is not there.
  """
  found = _by_name(folder) if is_folder(folder) else {}
  for name in names:
    if name not in found:
      raise InputError(f"{folder / name}: no such video, or folder of pictures")
  return {name: found[name] for name in names}


def read_video(path: Place) -> np.ndarray:
  """All frames of a video or a folder of pictures, (n, h, w, 3) uint8.

  Raises:
    InputError: it cannot be read.
  """
  images = list(_images(path))
  if not images:
    raise InputError(f"{path}: no frame can be decoded")
  return np.stack(images)


def _images(path: Place) -> Generator[np.ndarray, None, None]:
  with copied(path) as copy:
    if not copy.exists():
      raise InputError(f"{path}: no such file or folder")
    for frame in open_source(copy).frames:
      yield frame.image


def _exists(path: Place) -> bool:
  if isinstance(path, Path):
    return path.exists()
  return is_file(path) or is_folder(path)


def _holds_videos(path: Place) -> bool:
  return is_folder(path) and not any(
    p.suffix.lower() in IMAGES for p in entries(path)
  )


def _by_name(folder: Place) -> dict[str, Place]:
  found = {
    path.name if is_a_folder else path.stem: path
    for path, is_a_folder in entries(folder).items()
    if is_a_folder or path.suffix.lower() in _VIDEOS
  }
  if not found:
    raise InputError(f"{folder}: no video, and no picture, in this folder")
  return found


def _name_of(path: Place) -> str:
  """A video's name without its suffix; a folder's name may hold a dot."""
  return path.name if is_folder(path) else path.stem


def _binary(masks: np.ndarray) -> np.ndarray:
  """Masks of 0 and 1, of 0/1 or 0/255 with some loss from compression."""
  brightest = masks.max(axis=(1, 2, 3), keepdims=True)
  threshold = np.where(brightest > 1, 127, 0)
  return (masks[..., :1] > threshold).astype(np.uint8)


def _size(image: np.ndarray) -> str:
  return f"{image.shape[1]}x{image.shape[0]}"
