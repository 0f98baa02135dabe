"""Masks that the user has: a video, a folder of images, or a single image.

Values may be 0/1, 0/255 (or the whole 16-bit range), or an alpha channel; the
brightest pixel of the whole sequence decides which it is. There must be as
many masks as frames, unless a single image serves for every frame.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

from data_prep.detections import NOTHING, Detections, bounding_box
from data_prep.occlusion.shapes import full_scale
from diffmvr_jax.errors import InputError
from diffmvr_jax.media import video
from diffmvr_jax.media.pictures import read_picture
from diffmvr_jax.media.sources import IMAGES, image_files

# Frame rates that differ by more belong to different videos.
_FPS_TOLERANCE = 0.01


class UserMasks:
  """The user's masks of one video, as a detector.

  Args:
    path: a mask video, an image, a folder of images, or a folder that holds
      one of these for each video, named like it.
    source: the video.

  Raises:
    InputError: there are no masks for this video, they cannot be read, or
      their number or frame rate is not the video's.
  """

  overlooks = False

  def __init__(self, path: str | Path, source: str | Path):
    self._path = find_masks_of(Path(path), Path(source))
    if self._path.suffix.lower() in IMAGES and self._path.is_file():
      mask = _read_image(self._path)
      self._threshold = _threshold(int(mask.max()))
      self._masks = repeat(mask)
      return
    if self._path.is_dir():
      self._check_count(len(image_files(self._path)), source)
    else:
      info = video.probe(self._path)
      truth = info if Path(source).is_dir() else video.probe(source)
      if abs(info.fps / truth.fps - 1) > _FPS_TOLERANCE:
        raise InputError(
          f"{self._path}: {_decimal(info.fps)} frames/s, {source} has "
          f"{_decimal(truth.fps)}; are these its masks?"
        )
      self._check_count(video.count_frames(self._path), source)
    self._threshold = _threshold(max(int(mask.max()) for mask in self._read()))
    self._masks = self._read()

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Returns the mask of the next frame as one detection.

    Raises:
      InputError: the mask's size is not the frame's, or there is no mask.
    """
    try:
      values = next(self._masks)
    except StopIteration:
      raise InputError(f"{self._path}: no mask for frame {index}") from None
    if values.shape != image.shape[:2]:
      raise InputError(
        f"{self._path}: frame {index}: the mask has "
        f"{values.shape[1]}×{values.shape[0]} pixels, the video "
        f"{image.shape[1]}×{image.shape[0]}"
      )
    mask = (values > self._threshold).astype(np.uint8)
    if not mask.any():
      return NOTHING
    return Detections(
      boxes=bounding_box(mask)[None],
      scores=np.ones(1, np.float32),
      masks=mask[None],
    )

  def close(self) -> None:
    """Nothing to free."""

  def _check_count(self, masks: int, source: str | Path) -> None:
    is_folder = Path(source).is_dir()
    count = len(image_files(Path(source))) if is_folder else None
    frames = video.count_frames(source) if count is None else count
    if masks != frames:
      raise InputError(
        f"{self._path}: {masks} masks, but {source} has {frames} frames"
      )

  def _read(self) -> Iterator[np.ndarray]:
    if self._path.is_dir():
      return map(_read_image, image_files(self._path))
    return (frame.image.max(axis=2) for frame in video.read_frames(self._path))


def read_mask(path: Path) -> np.ndarray:
  """Reads the mask of a single picture.

  Returns:
    (h, w) uint8, 1 on the occlusion.

  Raises:
    InputError: the file is no image that can be read.
  """
  values = _read_image(path)
  return (values > _threshold(int(values.max()))).astype(np.uint8)


def find_masks_of(path: Path, source: Path) -> Path:
  """Returns where a video's masks lie: `path`, or its entry of that name.

  Raises:
    InputError: there are no masks for this video.
  """
  if not path.exists():
    raise InputError(f"{path}: no such file or folder of masks")
  if not path.is_dir():
    return path
  own = [entry for entry in sorted(path.iterdir()) if entry.stem == source.stem]
  if len(own) > 1:
    names = ", ".join(entry.name for entry in own)
    raise InputError(f"{path}: several masks for {source.name}: {names}")
  if own:
    return own[0]
  if any(p.suffix.lower() in IMAGES for p in path.iterdir()):
    return path
  raise InputError(f"{path}: no masks for {source.name}")


def _threshold(brightest: int) -> int:
  # 0/1 files are exact; lossy 0/255 files have grey edges.
  return 0 if brightest <= 1 else brightest // 2


def _read_image(path: Path) -> np.ndarray:
  """Returns (h, w) values; an alpha channel is the mask if it is not opaque."""
  data = read_picture(path, cv2.IMREAD_UNCHANGED)
  if data.ndim == 2:
    return data
  if data.shape[2] == 4 and (data[..., 3] != full_scale(data)).any():
    return data[..., 3]
  return data[..., :3].max(axis=2)


def _decimal(fps: Fraction) -> str:
  return f"{float(fps):.3f}".rstrip("0").rstrip(".")


class GivenMasks:
  """Masks from memory, one per frame, as a detector.

  Args:
    masks: (h, w) each, not 0 on the occlusion.
  """

  overlooks = False

  def __init__(self, masks: Iterable[np.ndarray]):
    self._masks = iter(masks)

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Takes the next mask.

    Raises:
      InputError: there is no mask, or its size is not the frame's.
    """
    mask = next(self._masks, None)
    if mask is None:
      raise InputError(f"frame {index}: has no mask")
    if mask.shape != image.shape[:2]:
      raise InputError(
        f"frame {index}: its mask is {mask.shape}, it is {image.shape[:2]}"
      )
    if not mask.any():
      return NOTHING
    ones = (mask != 0).astype(np.uint8)
    return Detections(
      boxes=bounding_box(ones)[None], scores=np.ones(1), masks=ones[None]
    )

  def close(self) -> None:
    """Nothing is held."""
