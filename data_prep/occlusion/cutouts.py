"""Cut-outs of real hands, made ready to pass in front of a face.

A hand is recoloured to the person's skin and light, and gets a forearm, bare
or in a sleeve, where the picture was cut off at its wrist.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from data_prep.occlusion.forearms import with_forearm, wrist_of
from data_prep.occlusion.shapes import full_scale, sprite_files
from diffmvr_jax.errors import InputError
from diffmvr_jax.media.pictures import read_picture

_HAND = 176  # pixels that a stretched hand is long in its picture


@dataclass(frozen=True, kw_only=True)
class Cutout:
  """What is put in front of a face.

  Attributes:
    image: (h, w, 4) uint8, premultiplied RGBA; an arm points down.
    anchor: (2,) x and y of its middle, of a hand's palm, in pixels.
    length: of a stretched hand, or of the object, in pixels.
  """

  image: np.ndarray
  anchor: np.ndarray
  length: float

  def mirrored(self) -> "Cutout":
    """The other hand."""
    width = self.image.shape[1]
    return Cutout(
      image=np.ascontiguousarray(self.image[:, ::-1]),
      anchor=np.array([width - 1 - self.anchor[0], self.anchor[1]]),
      length=self.length,
    )

  def scaled(self, length: float) -> "Cutout":
    """Made smaller, until a hand has `length` pixels; never larger."""
    factor = length / self.length
    if factor >= 0.95:
      return self
    size = [max(1, round(factor * n)) for n in self.image.shape[1::-1]]
    image = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
    factors = np.array(size) / self.image.shape[1::-1]
    return Cutout(
      image=image,
      anchor=(self.anchor + 0.5) * factors - 0.5,
      length=self.length * float(factors[1]),
    )


def hand(
  folder: str | Path,
  rng: np.random.Generator,
  skin_colour: np.ndarray,
  length: float = _HAND,
) -> Cutout:
  """Draws one of the folder's pictures.

  Pictures of hands touch their lower border with the wrist. Anything else is
  taken as it is.

  Args:
    folder: of RGBA pictures.
    rng: decides which one, its tone, and its arm.
    skin_colour: (3,) RGB of the person.
    length: pixels of a stretched hand; it is not drawn larger than it is.

  Raises:
    InputError: no picture in the folder; one that has no alpha.
  """
  files = sprite_files(folder)
  path = files[int(rng.integers(len(files)))]
  rgba = read(str(path))
  if wrist_of(rgba) is None or not _is_skin(rgba):
    alpha = rgba[..., 3] > 0.5
    whole = _premultiplied(rgba, _middle(alpha), float(max(alpha.shape)))
    return whole.scaled(length)
  rgba = _cleaned(str(path))
  unit = _HAND * min(1.0, length / _HAND)
  size = [max(8, round(n * unit / _HAND)) for n in rgba.shape[1::-1]]
  rgba = cv2.resize(rgba, size, interpolation=cv2.INTER_AREA)
  rgba = _relit(_recoloured(rgba, skin_colour, rng), rng)
  palm = _middle(rgba[: int(0.9 * len(rgba)), :, 3] > 0.5)
  rgba, palm = with_forearm(rgba, palm, unit, rng)
  cutout = _premultiplied(rgba, palm, unit)
  return cutout.mirrored() if rng.random() < 0.5 else cutout


@lru_cache(maxsize=1024)
def read(path: str) -> np.ndarray:
  """(h, w, 4) float32 RGBA in [0, 1], not premultiplied.

  Raises:
    InputError: not a picture, or it has no alpha.
  """
  picture = read_picture(path, cv2.IMREAD_UNCHANGED)
  if picture.ndim != 3 or picture.shape[2] != 4:
    raise InputError(f"{path}: has no alpha channel; save it as RGBA")
  rgba = picture[..., [2, 1, 0, 3]] / np.float32(full_scale(picture))
  rgba.setflags(write=False)
  return rgba


@lru_cache(maxsize=1024)
def _cleaned(path: str) -> np.ndarray:
  """Without the white that was left between fingers, and without fringes."""
  rgba = read(path)
  rgb, alpha = rgba[..., :3], rgba[..., 3]
  grey = rgb.min(-1)
  pale = (rgb.max(-1) - grey < 0.16) & (grey > 0.62)
  # Nails are pale as well, but stand within the hand.
  inside = cv2.erode((alpha > 0.5).astype(np.uint8), np.ones((3, 3)))
  near = cv2.dilate((alpha < 0.5).astype(np.uint8), np.ones((9, 9)))
  gap = pale & ((near > 0) | (grey > 0.82))
  gap = cv2.dilate(gap.astype(np.uint8), np.ones((3, 3)))
  solid = (inside & (gap == 0)).astype(np.float32)
  # One part: what hangs loose is no hand.
  count, labels, stats, _ = cv2.connectedComponentsWithStats(
    solid.astype(np.uint8)
  )
  if count > 1:
    solid *= labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
  soft = cv2.GaussianBlur(solid, (0, 0), 0.8, borderType=cv2.BORDER_REPLICATE)
  soft = np.clip(1.6 * soft - 0.3, 0, 1)
  return np.dstack([_bled(rgb, solid), soft])


def _bled(rgb: np.ndarray, solid: np.ndarray) -> np.ndarray:
  """Colours of the solid part, continued over its border."""
  weight = cv2.GaussianBlur(solid, (0, 0), 2.0)[..., None]
  spread = cv2.GaussianBlur(rgb * solid[..., None], (0, 0), 2.0)
  spread = spread / np.maximum(weight, 1e-3)
  return np.where(solid[..., None] > 0.5, rgb, spread).astype(np.float32)


def _is_skin(rgba: np.ndarray) -> bool:
  pixels = rgba[rgba[..., 3] > 0.9][:, :3]
  if not len(pixels):
    return False
  _, a, b = _lab(np.median(pixels, axis=0)[None, None])[0, 0]
  return bool(0.5 < a < 35 and 3 < b < 45)


def _lab(rgb: np.ndarray) -> np.ndarray:
  return cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2LAB)


def _recoloured(
  rgba: np.ndarray, skin_colour: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Mean and contrast of the person's skin, the hand's own texture."""
  lab = _lab(rgba[..., :3])
  solid = rgba[..., 3] > 0.9
  mean = lab[solid].mean(0)
  target = _lab(np.asarray(skin_colour)[None, None] / 255)[0, 0]
  tone = np.array([rng.normal(-1, 4), rng.normal(1.0, 2.0), rng.normal(0, 2)])
  if target[0] < 45:  # palms are lighter than dark faces
    tone[0] += rng.uniform(0, 14)
  target = target + tone
  target[0] = np.clip(target[0], 8, 84)
  contrast = np.clip(target[0] / mean[0], 0.45, 1.2) * rng.uniform(0.8, 1.15)
  # Less colour in dim light, and in the shadows of a hand.
  changed = (lab - mean) * [contrast, 0.8, 0.8] + target
  # Highlights do not burn out.
  bright = changed[..., 0] > 80
  changed[bright, 0] = 80 + 16 * np.tanh((changed[bright, 0] - 80) / 16)
  rgb = cv2.cvtColor(changed.astype(np.float32), cv2.COLOR_LAB2RGB)
  return np.dstack([np.clip(rgb, 0, 1), rgba[..., 3]])


def _relit(rgba: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Light from a side."""
  height, width = rgba.shape[:2]
  x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
  slope = rng.normal(0, 0.09, 2)
  shade = np.clip(1 + slope[0] * x + slope[1] * y, 0.6, 1.4)
  return np.dstack(
    [np.clip(rgba[..., :3] * shade[..., None], 0, 1), rgba[..., 3]]
  )


def _middle(solid: np.ndarray) -> np.ndarray:
  y, x = np.nonzero(solid)
  if not len(x):
    return np.array(solid.shape[::-1]) / 2
  return np.array([x.mean(), y.mean()])


def _premultiplied(
  rgba: np.ndarray, anchor: np.ndarray, length: float
) -> Cutout:
  colour = rgba[..., :3] * rgba[..., 3:]
  image = np.dstack([colour, rgba[..., 3]])
  image = np.clip(255 * image + 0.5, 0, 255).astype(np.uint8)
  return Cutout(image=image, anchor=np.asarray(anchor), length=length)
