"""Blends a placed sprite over an image, with a shadow, and gives its mask."""

import cv2
import numpy as np

# How far the mask reaches beyond the shape, as a share of the crop's side.
DILATION = 1 / 40
_SHADOW = 0.35  # darkest part of the shadow


def composite(
  image: np.ndarray, sprite: np.ndarray, low: np.ndarray, crop_side: float
) -> tuple[np.ndarray, np.ndarray]:
  """Draws the shadow, then the shape; the mask covers both.

  Args:
    image: (h, w, 3) uint8.
    sprite: (k, l, 4) uint8, premultiplied RGBA.
    low: (2,) x and y of the sprite's upper left corner in the image.
    crop_side: side of the crop, in pixels of the image.

  Returns:
    The occluded image, and its mask, (h, w) uint8.
  """
  radius = max(1, round(crop_side * DILATION))
  # Room for the shadow around the sprite.
  left, top = np.maximum(low - 2 * radius, 0)
  height, width = sprite.shape[:2]
  right = min(low[0] + width + 2 * radius, image.shape[1])
  bottom = min(low[1] + height + 2 * radius, image.shape[0])
  region = np.zeros((bottom - top, right - left, 4), np.uint8)
  x, y = low[0] - left, low[1] - top
  region[y : y + height, x : x + width] = sprite
  alpha = cv2.extractChannel(region, 3)
  covered = (alpha > 1).astype(np.uint8)
  covered = cv2.dilate(covered, disc(radius))
  # The shadow fades out within the mask, so that nothing changes beyond it.
  near = cv2.blur(covered.astype(np.float32), (radius | 1, radius | 1))
  shift = np.array([[1, 0, 0.3 * radius], [0, 1, 0.6 * radius]])
  shadow = cv2.warpAffine(alpha, shift, alpha.shape[::-1])
  shadow = blurred(shadow, 0.6 * radius) * np.float32(_SHADOW / 255)
  shadow *= np.clip(2 * near - 1, 0, 1) * covered
  source = image[top:bottom, left:right]
  kept = cv2.multiply(1 - shadow, 255 - alpha, dtype=cv2.CV_8U)
  kept = cv2.cvtColor(kept, cv2.COLOR_GRAY2RGB)
  changed = cv2.add(  # which saturates
    cv2.multiply(source, kept, scale=1 / 255),
    cv2.cvtColor(region, cv2.COLOR_RGBA2RGB),
  )
  occluded = image.copy()
  occluded[top:bottom, left:right] = cv2.copyTo(changed, covered, source.copy())
  mask = np.zeros(image.shape[:2], np.uint8)
  mask[top:bottom, left:right] = covered
  return occluded, mask


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
  """Blurs by a Gaussian, at a resolution as coarse as the blur allows."""
  height, width = image.shape
  step = max(1, int(sigma / 2))
  coarse = (max(1, width // step), max(1, height // step))
  image = cv2.resize(image, coarse, interpolation=cv2.INTER_AREA)
  image = cv2.GaussianBlur(image, (0, 0), sigma / step)
  return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def disc(radius: float) -> np.ndarray:
  """Returns a round kernel with which to dilate by `radius` pixels."""
  side = 2 * max(1, round(radius)) + 1
  return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
