"""Propagation: what was seen of a covered pixel, carried to the present.

Strictly causal, one call per frame, no model and no face needed: with x_t the
frame at time t and m_t its mask,

  (1)  c_t = x_t where m_t = 0, and warp(c_{t-1} -> t) elsewhere.

The flow of the warp is DIS optical flow (Kroeger et al. 2016) where both
frames are visible; normalised convolution carries it under the mask.
"""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
  """How frames are propagated.

  Attributes:
    dilation: pixels by which the mask grows, against halos and shadows.
    flow_side: pixels of the longer side at which flow is computed; larger
      frames are shrunk to it.
  """

  dilation: int = 0
  flow_side: int = 320


@dataclass(frozen=True, kw_only=True)
class Propagated:
  """One propagated frame.

  Attributes:
    image: (h, w, 3) uint8: the frame where it is visible, elsewhere its last
      sighting at the present pose; smoothly filled where nothing was seen.
    valid: (h, w) uint8, 1 where the pixel is visible or was ever seen.
    confidence: (h, w) float32 in [0, 1]: 1 on visible pixels, 0 where nothing
      was seen.
    sources: (k, h, w, 3) uint8 in the order of `SOURCES`, if asked for.
    source_valid: (k, h, w) uint8, 1 where a source has anything to show.
  """

  image: np.ndarray
  valid: np.ndarray
  confidence: np.ndarray
  sources: np.ndarray | None = None
  source_valid: np.ndarray | None = None


class Propagator:
  """Propagates a video, frame by frame.

  Args:
    config: settings.

  Example:
    >>> propagate = Propagator()
    >>> result = propagate(np.zeros((32, 32, 3), np.uint8),
    ...                    np.zeros((32, 32), np.uint8))
    >>> result.image.shape, int(result.valid.min())
    ((32, 32, 3), 1)
  """

  def __init__(self, config: PropagationConfig | None = None):
    self._config = config or PropagationConfig()
    self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    self.reset()

  def reset(self) -> None:
    """Forgets everything, as before the first frame."""
    self._image: np.ndarray | None = None
    self._valid = self._confidence = self._grey = self._mask = np.zeros(0)

  def __call__(self, image: np.ndarray, mask: np.ndarray) -> Propagated:
    """Takes the next frame.

    Args:
      image: (h, w, 3) uint8 RGB.
      mask: (h, w) uint8, 1 on the occlusion.
    """
    if self._config.dilation:
      side = 2 * self._config.dilation + 1
      disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
      mask = cv2.dilate(mask, disc)
    height, width = mask.shape
    visible = mask == 0
    scale = min(1.0, self._config.flow_side / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    seen = cv2.resize(visible.astype(np.float32), size) > 0.99
    if self._image is None or self._image.shape != image.shape:
      out, valid = image.copy(), visible.astype(np.uint8)
      confidence = visible.astype(np.float32)
    else:
      flow = self._flow.calc(grey, self._grey, None)
      x, y = np.meshgrid(
        np.arange(size[0], dtype=np.float32),
        np.arange(size[1], dtype=np.float32),
      )
      both = seen & (
        cv2.remap(
          self._mask, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR
        )
        > 0.99
      )
      flow = normalised(flow, both.astype(np.float32), 0.08 * max(size))
      if size != (width, height):
        flow = cv2.resize(flow, (width, height))
        flow *= np.float32([width / size[0], height / size[1]])
      x, y = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
      )
      x, y = x + flow[..., 0], y + flow[..., 1]
      carried = cv2.remap(
        self._image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
      )
      old = cv2.remap(self._confidence, x, y, cv2.INTER_LINEAR) * 0.97
      out = np.where(visible[..., None], image, carried)
      known = cv2.remap(
        self._valid.astype(np.float32), x, y, cv2.INTER_LINEAR
      )
      valid = (visible | (known > 0.5)).astype(np.uint8)
      confidence = np.where(visible, np.float32(1), old * valid)
    self._image, self._valid, self._confidence = out, valid, confidence
    self._grey, self._mask = grey, seen.astype(np.float32)
    return Propagated(
      image=out, valid=valid, confidence=confidence.astype(np.float32)
    )


def normalised(
  values: np.ndarray, weights: np.ndarray, sigma: float
) -> np.ndarray:
  """Extends values from where they are known: G*(wv) / G*w outside them.

  Args:
    values: (h, w, c) float32.
    weights: (h, w) float32 in [0, 1]; 1 keeps a value.
    sigma: standard deviation of the Gaussian G, in pixels.
  """
  total = cv2.GaussianBlur(weights, (0, 0), sigma)
  wide = cv2.GaussianBlur(values * weights[..., None], (0, 0), sigma)
  wide = wide / np.maximum(total, 1e-6)[..., None]
  w = weights[..., None]
  return w * values + (1 - w) * wide
