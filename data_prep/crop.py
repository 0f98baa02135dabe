"""Square, level, temporally smoothed crops around the face."""

import cv2
import numpy as np

from data_prep import face

# The crop's side over the larger side of the face.
MARGIN = 1.4
# Standard deviation of the smoothing, in frames.
SMOOTHING = 2.0


def interpolate(landmarks: list[np.ndarray | None]) -> np.ndarray:
  """Fills frames without a face from their neighbours, linearly in time.

  Args:
    landmarks: per frame, (k, 2) or None; at least one is not None.

  Returns:
    (frames, k, 2) float32.
  """
  found = {i: p for i, p in enumerate(landmarks) if p is not None}
  known = list(found)
  values = np.stack(list(found.values())).astype(np.float32)
  flat = values.reshape(len(known), -1)
  times = np.arange(len(landmarks))
  filled = np.stack(
    [np.interp(times, known, column) for column in flat.T], axis=1
  )
  return filled.reshape(len(landmarks), *values.shape[1:]).astype(np.float32)


def crop_transforms(landmarks: np.ndarray, size: int) -> np.ndarray:
  """Similarity transforms from source pixels to crop pixels.

  Centre, side and roll of the face are smoothed over time by a Gaussian.

  Args:
    landmarks: (frames, 21, 2), without gaps.
    size: side of the crop, in pixels.

  Returns:
    (frames, 2, 3) float32.
  """
  extents = [face.extent(points) for points in landmarks]
  parameters = np.stack(
    [
      np.array([centre[0], centre[1], side, face.roll(points)])
      for (centre, side), points in zip(extents, landmarks, strict=True)
    ]
  )
  smooth = _gaussian(parameters, SMOOTHING)
  transforms = []
  for x, y, side, angle in smooth:
    scale = size / (MARGIN * side)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    # Pixel centres are at integers, so the crop's centre is (size − 1) / 2.
    shift = (size - 1) / 2 - linear @ np.array([x, y])
    transforms.append(np.column_stack([linear, shift]))
  return np.stack(transforms).astype(np.float32)


def warp(image: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
  """Cuts the crop out of a frame; borders are replicated."""
  scale = np.hypot(transform[0, 0], transform[0, 1])
  if scale < 0.5:
    # Bilinear sampling alone would alias; blur to the crop's resolution.
    image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
  return cv2.warpAffine(
    image,
    transform,
    (size, size),
    flags=cv2.INTER_LINEAR,
    borderMode=cv2.BORDER_REPLICATE,
  )


def warp_mask(mask: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
  """Cuts the crop of a 0/1 mask; outside of the frame nothing is occluded."""
  warped = cv2.warpAffine(mask * np.uint8(255), transform, (size, size))
  return (warped > 63).astype(np.uint8)


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Maps (k, 2) points."""
  return points @ transform[:, :2].T + transform[:, 2]


def _gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
  radius = int(3 * sigma)
  kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
  padded = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
  columns = [
    np.convolve(column, kernel / kernel.sum(), mode="valid")
    for column in padded.T
  ]
  return np.stack(columns, axis=1)
