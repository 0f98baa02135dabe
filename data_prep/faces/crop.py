"""Square, level crops: the map from source to crop pixels, and its use."""

import cv2
import numpy as np

# The crop's side over the larger side of the face.
MARGIN = 1.4


def transform(
  centre: tuple[float, float], side: float, angle: float, size: int
) -> np.ndarray:
  """Returns the similarity that turns a face upright and centres it.

  Args:
    centre: centre of the face, in source pixels.
    side: larger side of the face, in source pixels.
    angle: roll of the face, in radians.
    size: side of the crop, in pixels.

  Returns:
    (2, 3) float32 map from source to crop pixels.
  """
  scale = size / (MARGIN * max(side, 1.0))
  cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
  linear = np.array([[cosine, sine], [-sine, cosine]])
  # Pixel centres are at integers, so the crop's centre is (size − 1) / 2.
  shift = (size - 1) / 2 - linear @ np.asarray(centre)
  return np.column_stack([linear, shift]).astype(np.float32)


def invert(transform: np.ndarray) -> np.ndarray:
  """Returns the (2, 3) map from crop to source pixels, float64."""
  whole = np.vstack([transform, [0, 0, 1]]).astype(np.float64)
  return np.linalg.inv(whole)[:2]


def warp(image: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
  """Cuts the crop out of a frame; borders are replicated."""
  scale = np.hypot(transform[0, 0], transform[0, 1])
  if scale < 0.5:
    # Bilinear sampling alone would alias, so blur to the crop's resolution.
    image, transform = _blurred(image, transform, size, 0.4 / scale)
  return cv2.warpAffine(
    image,
    transform,
    (size, size),
    flags=cv2.INTER_LINEAR,
    borderMode=cv2.BORDER_REPLICATE,
  )


def _blurred(
  image: np.ndarray, transform: np.ndarray, size: int, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
  """Blurs what a crop shows of a frame; returns it, and the map from it."""
  ends = (0, size - 1)
  corners = np.array([[x, y] for x in ends for y in ends])
  places = apply(invert(transform), corners)
  reach = int(3 * sigma) + 4  # more than half of OpenCV's kernel, and a pixel
  last = np.array(image.shape[1::-1]) - 1
  places = np.clip(places, 0, last)  # the border is replicated
  low = np.maximum(np.floor(places.min(0)).astype(int) - reach, 0)
  high = np.minimum(np.ceil(places.max(0)).astype(int) + reach, last)
  part = image[low[1] : high[1] + 1, low[0] : high[0] + 1]
  moved = transform.astype(np.float64)
  moved[:, 2] += moved[:, :2] @ low
  return cv2.GaussianBlur(part, (0, 0), sigma), moved


def warp_mask(mask: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
  """Cuts the crop out of a 0/1 mask; outside of the frame it is 0."""
  warped = cv2.warpAffine(mask * np.uint8(255), transform, (size, size))
  return (warped > 63).astype(np.uint8)


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Maps (k, 2) points."""
  return points @ transform[:, :2].T + transform[:, 2]
