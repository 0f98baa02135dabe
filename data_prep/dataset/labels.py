"""Labelled pictures: YOLO's label files, or masks.

  DIR/images/…/NAME.jpg   the pictures
  DIR/labels/…/NAME.txt   a line per object: its class, and four numbers of a
                          box or six and more of an outline
  DIR/masks/…/NAME.png    or a mask, which is bright on the occluder

Class 0 is a face, class 1 an occluder, as `data_prep annotate` writes them. The
numbers are shares of the picture's width and height. A file without a line says
that nothing is there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.detectors.given_masks import read_mask
from diffmvr_jax.errors import InputError
from diffmvr_jax.media.pictures import read_picture
from diffmvr_jax.media.sources import IMAGES

FACE, OCCLUDER = 0, 1


@dataclass(frozen=True)
class Label:
  """One labelled object.

  Attributes:
    kind: `FACE` or `OCCLUDER`.
    outline: (k, 2) float32, corners in pixels.
    is_box: whether the outline is a box.
  """

  kind: int
  outline: np.ndarray
  is_box: bool

  @property
  def box(self) -> np.ndarray:
    """(4,) left, top, right, bottom."""
    return np.concatenate([self.outline.min(0), self.outline.max(0)])


@dataclass(frozen=True)
class LabelledPicture:
  """A picture with what is in it.

  Attributes:
    path: of the picture.
    image: (h, w, 3) uint8.
    labels: faces and occluders; no occluders if there is a mask.
    mask: (h, w) uint8, 1 on the occluder; None: labels say it all.
  """

  path: Path
  image: np.ndarray
  labels: list[Label]
  mask: np.ndarray | None


def picture_paths(data: Path, split: str | None) -> list[Path]:
  """Returns the pictures of a data set.

  Args:
    data: its folder, or the `data.yaml` in it.
    split: name of the folder in `images`; None means all of them.

  Raises:
    InputError: there is none.
  """
  folder = (data.parent if data.is_file() else data) / "images" / (split or "")
  found = sorted(
    path for path in folder.rglob("*") if path.suffix.lower() in IMAGES
  )
  if not found:
    raise InputError(f"{folder}: no pictures here")
  return found


def read_labelled(path: Path) -> LabelledPicture:
  """Reads a picture and what is beside it.

  Raises:
    InputError: one of the files is missing or cannot be read.
  """
  image = read_picture(path)
  labels, mask = _beside(path, "labels", ".txt"), _beside(path, "masks", ".png")
  if mask.is_file():
    values = read_mask(mask)
    if values.shape != image.shape[:2]:
      raise InputError(
        f"{mask}: has {values.shape[1]}×{values.shape[0]} pixels, its picture "
        f"{image.shape[1]}×{image.shape[0]}"
      )
    return LabelledPicture(path, image, [], values)
  if not labels.is_file():
    raise InputError(
      f"{labels}: no such file; an empty one says that nothing is in the "
      "picture"
    )
  return LabelledPicture(path, image, list(_read(labels, image.shape)), None)


def _beside(picture: Path, folder: str, suffix: str) -> Path:
  """The path with the last folder `images` replaced, and the suffix."""
  parts = list(picture.with_suffix(suffix).parts)
  parts[len(parts) - 1 - parts[::-1].index("images")] = folder
  return Path(*parts)


def _read(path: Path, shape: tuple[int, ...]) -> Iterator[Label]:
  scale = np.array([shape[1], shape[0]], np.float32)
  for number, line in enumerate(path.read_text().splitlines(), 1):
    if not line.strip():
      continue
    try:
      kind, *values = (float(word) for word in line.split())
    except ValueError:
      raise InputError(f"{path}: line {number} is not of numbers") from None
    if kind not in (FACE, OCCLUDER):
      raise InputError(
        f"{path}: line {number} has class {kind:g}; 0 is a face, 1 an occluder"
      )
    is_box = len(values) == 4
    if not is_box and (len(values) < 6 or len(values) % 2):
      raise InputError(
        f"{path}: line {number} has {len(values)} numbers; a box has 4, an "
        "outline 6 or more"
      )
    points = np.array(values, np.float32).reshape(-1, 2)
    if is_box:
      low, high = points[0] - points[1] / 2, points[0] + points[1] / 2
      points = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
    if (np.abs(points - 0.5) > 0.5 + 1e-3).any():
      raise InputError(f"{path}: line {number} reaches beyond the picture")
    yield Label(int(kind), points * scale, is_box)
