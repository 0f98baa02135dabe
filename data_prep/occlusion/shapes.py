"""Shapes that are pasted over faces: hands, boxes, strokes, user's sprites.

A shape is a function of time in seconds that returns a sprite: a premultiplied
RGBA image, uint8. Its anchor lies half its width below the middle of its upper
edge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from diffmvr_jax.errors import InputError
from diffmvr_jax.media.pictures import read_picture

Shape = Callable[[float], np.ndarray]
_FINGERS = (0.24, 0.29, 0.31, 0.27)  # lengths over the sprite's width
_ARM = 1.8  # height of a hand's sprite over its width


@dataclass(frozen=True, kw_only=True)
class Skin:
  """Real skin, taken from the clip.

  Attributes:
    colour: (3,) median RGB.
    texture: (k, k) float32 detail around 1, by which a colour is multiplied.
  """

  colour: np.ndarray
  texture: np.ndarray

  @classmethod
  def sample(cls, image: np.ndarray, region: np.ndarray) -> "Skin":
    """Takes colour and detail from a region of skin.

    Args:
      image: (h, w, 3) uint8.
      region: left, top, right, bottom, in pixels; may lie partly outside.
    """
    height, width = image.shape[:2]
    left, right = np.clip(region[[0, 2]].round().astype(int), 0, width)
    top, bottom = np.clip(region[[1, 3]].round().astype(int), 0, height)
    patch = image[top:bottom, left:right].astype(np.float32)
    if min(patch.shape[:2]) < 4:
      return cls(colour=np.full(3, 160.0), texture=np.ones((4, 4), np.float32))
    grey = patch.mean(axis=2)
    # Detail that is larger than pores is the light on the face, not skin.
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.06 * min(grey.shape) + 0.5)
    texture = np.clip(grey / np.maximum(smooth, 1), 0.92, 1.08)
    return cls(colour=np.median(patch, axis=(0, 1)), texture=texture)


def hand(rng: np.random.Generator, skin: Skin, side: int) -> Shape:
  """Draws an articulated hand, fingers up, forearm down, that moves slowly.

  Args:
    rng: decides proportions, pose, tone and light.
    skin: skin of the person.
    side: width of the sprites, in pixels; the forearm makes them higher.
  """
  tone = skin.colour * rng.uniform(0.8, 1.1) + rng.normal(0, 4, 3)
  tone = np.clip(tone, 20, 245)
  light = np.array([rng.uniform(-0.6, 0.6), rng.uniform(-0.7, 0), 1.0])
  height = round(_ARM * side)
  detail = _tiled(skin.texture, height, side)
  thumb = rng.choice([-1.0, 1.0])
  spread, curl = rng.uniform(0.02, 0.16), rng.uniform(0.6, 1.0)
  leans = rng.normal(0, 0.05, (4, 2))
  phases, speeds = rng.uniform(0, 2 * np.pi, 4), rng.uniform(1, 3, 4)

  def draw(time: float) -> np.ndarray:
    relief = _Relief(side, height)
    middle, wrist = _xy(0.5, 0.5), _xy(0.5, 0.74)
    relief.limb([wrist, _xy(0.5, _ARM + 0.2)], 0.12)
    for offset in (-0.07, 0.0, 0.07):  # the palm, broader than thick
      relief.limb(
        [wrist + _xy(0.6 * offset, -0.03), middle + _xy(1.3 * offset, 0.02)],
        0.075,
      )
    for i, reach in enumerate(_FINGERS):
      sideways = (1.5 - i) * -thumb
      flexion = 0.1 * np.sin(speeds[i] * time + phases[i])
      bone = 0.5 * reach * np.clip(curl + flexion, 0.45, 1.05)
      base = middle + _xy(0.078 * sideways, 0.012 * abs(sideways))
      lean = sideways * spread + leans[i, 0] + 0.4 * flexion
      joint = base + bone * _up(lean)
      tip = joint + bone * _up(lean + leans[i, 1])
      relief.limb([base, joint, tip], 0.037)
      relief.crease(joint, lean, 0.028)
    base = wrist + _xy(0.08 * thumb, -0.06)
    joint = base + _xy(0.1 * thumb, -0.09)
    tip = joint + _xy(0.03 * thumb, -0.12 * np.clip(curl, 0.7, 1))
    relief.limb([base, joint, tip], 0.043)
    return relief.lit(tone, light, detail)

  return draw


def box(rng: np.random.Generator, side: int) -> Shape:
  """Draws a rectangle of one colour with grain, like a sheet of paper."""
  half = rng.uniform(0.2, 0.45, 2)
  colour = rng.uniform(20, 235, 3)
  low = ((0.5 - half) * side).round().astype(int)
  high = ((0.5 + half) * side).round().astype(int)
  sprite = np.zeros((side, side, 4), np.uint8)
  inside = sprite[low[1] : high[1], low[0] : high[0]]
  grain = rng.normal(0, 6, (*inside.shape[:2], 1))
  inside[..., :3] = np.clip(colour + grain, 0, 255)
  inside[..., 3] = 255
  return lambda time: sprite


def strokes(rng: np.random.Generator, side: int) -> Shape:
  """Draws free-form brush strokes, the usual masks of inpainting."""
  mask = np.zeros((side, side), np.uint8)
  colour = rng.uniform(20, 235, 3)
  for _ in range(int(rng.integers(2, 5))):
    point = rng.uniform(0.25, 0.75, 2)
    angle = rng.uniform(0, 2 * np.pi)
    width = max(1, round(side * rng.uniform(0.05, 0.14)))
    for _ in range(int(rng.integers(3, 8))):
      angle += rng.normal(0, 0.9)
      step = rng.uniform(0.08, 0.2) * np.array([np.cos(angle), np.sin(angle)])
      following = np.clip(point + step, 0.12, 0.88)
      ends = (np.stack([point, following]) * side).round().astype(np.int32)
      cv2.polylines(mask, [ends], False, 255, width, cv2.LINE_AA)
      point = following
  colours = [cv2.multiply(mask, c / 255) for c in colour.tolist()]
  sprite = cv2.merge([*colours, mask])
  return lambda time: sprite


def sprite_files(folder: str | Path) -> list[Path]:
  """Returns the user's occluders: pictures with an alpha channel.

  Raises:
    InputError: there is no such folder, or no picture in it.
  """
  folder = Path(folder)
  files = sorted(p for p in folder.glob("*") if p.suffix.lower() in _PICTURES)
  if not files:
    raise InputError(f"{folder}: no .png or .webp picture with alpha in it")
  return files


def load_sprite(path: Path, side: int) -> Shape:
  """Reads a picture with alpha, and fits it into a square.

  Raises:
    InputError: it is no picture, or it has no alpha channel.
  """
  picture = read_picture(path, cv2.IMREAD_UNCHANGED)
  if picture.ndim != 3 or picture.shape[2] != 4:
    raise InputError(f"{path}: has no alpha channel; save it as RGBA")
  rgba = picture[..., [2, 1, 0, 3]] * np.float32(255 / full_scale(picture))
  rgba[..., :3] *= rgba[..., 3:] / 255
  scale = side / max(rgba.shape[:2])
  width = max(1, round(scale * rgba.shape[1]))
  height = max(1, round(scale * rgba.shape[0]))
  rgba = cv2.resize(rgba, (width, height), interpolation=cv2.INTER_AREA)
  sprite = np.zeros((side, side, 4), np.uint8)
  top, left = (side - height) // 2, (side - width) // 2
  sprite[top : top + height, left : left + width] = rgba.round()
  return lambda time: sprite


_PICTURES = {".png", ".webp", ".tif", ".tiff"}


def full_scale(picture: np.ndarray) -> int:
  """Returns the value of an opaque or white pixel: 255 or 65535."""
  return 65535 if picture.dtype == np.uint16 else 255


class _Relief:
  """A relief of rounded limbs that run into each other; lengths in widths."""

  def __init__(self, width: int, height: int):
    self._width = width
    self._relief = np.zeros((height, width), np.float32)
    self._alpha = np.zeros((height, width), np.float32)

  def limb(self, points: list[np.ndarray], radius: float) -> None:
    """Adds a capsule around a line."""
    line, low, high = self._bounds(points, radius)
    if (high <= low).any():
      return
    away = np.full((high[1] - low[1], high[0] - low[0]), 255, np.uint8)
    cv2.polylines(away, [line - low], False, 0, 1)
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5)
    r = radius * self._width
    region = np.s_[low[1] : high[1], low[0] : high[0]]
    relief = np.sqrt(np.clip(r * r - distance * distance, 0, None))
    self._relief[region] = np.maximum(self._relief[region], relief)
    alpha = np.clip(r - distance + 0.5, 0, 1)
    self._alpha[region] = np.maximum(self._alpha[region], alpha)

  def crease(self, at: np.ndarray, lean: float, half: float) -> None:
    """Cuts a thin line across a finger."""
    across = 0.7 * half * _xy(np.cos(lean), np.sin(lean))
    line, low, high = self._bounds([at - across, at + across], 0.01)
    if (high <= low).any():
      return
    relief = self._relief[low[1] : high[1], low[0] : high[0]]
    groove = np.zeros(relief.shape, np.float32)
    cv2.polylines(groove, [line - low], False, 0.012 * self._width, 1)
    relief -= np.minimum(groove, relief)

  def lit(
    self, colour: np.ndarray, light: np.ndarray, detail: np.ndarray
  ) -> np.ndarray:
    """Shades the relief and returns it as a sprite."""
    left, top, width, height = cv2.boundingRect(
      (self._alpha > 0).astype(np.uint8)
    )
    region = np.s_[top : top + height, left : left + width]
    alpha, relief = self._alpha[region], self._relief[region]
    soft = cv2.GaussianBlur(relief, (0, 0), 0.008 * self._width + 0.3)
    slope_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=0.125)
    slope_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=0.125)
    # Python's floats keep the arrays in float32.
    x, y, z = (light / np.linalg.norm(light)).tolist()
    facing = z - x * slope_x - y * slope_y
    facing /= np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    shade = (0.5 + 0.55 * np.clip(facing, 0, 1)) * detail[region]
    bands = [np.minimum(shade * c, 255) * alpha for c in colour.tolist()]
    sprite = np.zeros((*self._alpha.shape, 4), np.uint8)
    sprite[region] = cv2.merge([*bands, 255 * alpha])
    return sprite

  def _bounds(self, points: list[np.ndarray], radius: float):
    line = (np.stack(points) * self._width).round().astype(np.int32)
    reach = int(np.ceil(radius * self._width)) + 2
    bounds = self._relief.shape[::-1]
    low = np.clip(line.min(0) - reach, 0, bounds)
    high = np.clip(line.max(0) + reach, 0, bounds)
    return line, low, high


def _xy(x: float, y: float) -> np.ndarray:
  return np.array([x, y])


def _up(lean: float) -> np.ndarray:
  return _xy(np.sin(lean), -np.cos(lean))


def _tiled(texture: np.ndarray, height: int, width: int) -> np.ndarray:
  """Covers an area by mirrored copies, which have no seams."""
  texture = texture[:height, :width].astype(np.float32)
  pad = [(0, height - texture.shape[0]), (0, width - texture.shape[1])]
  return np.pad(texture, pad, mode="symmetric")
