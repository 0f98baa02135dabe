"""Optical flow of true frames, by OpenCV's DIS (Kroeger et al. 2016)."""

from itertools import pairwise

import cv2
import numpy as np

_AGREES = 1.0  # pixels that there and back may differ


def backward_flow(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Flow from each frame but the first to the one before.

  Args:
    frames: (n, h, w, 3) uint8, n at least 2.

  Returns:
    (n − 1, h, w, 2) float32, as (x, y) in pixels; and (n − 1, h, w, 1) uint8,
    1 where the flow back agrees to a pixel, and so nothing came into sight.
  """
  method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
  grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
  height, width = grey[0].shape
  grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
  flows, visible = [], []
  for before, after in pairwise(grey):
    # A flow given as a start is written to; each call gets none.
    # OpenCV's stubs lack that the output may be None, and be made.
    back = method.calc(after, before, None)  # pyright: ignore
    forth = method.calc(before, after, None)  # pyright: ignore
    place = (grid + back).astype(np.float32)
    there = cv2.remap(forth, place, None, cv2.INTER_LINEAR)  # pyright: ignore
    inside = ((place >= 0) & (place <= (width - 1, height - 1))).all(-1)
    agrees = np.linalg.norm(back + there, axis=-1) < _AGREES
    flows.append(back)
    visible.append((inside & agrees)[..., None])
  return np.stack(flows), np.stack(visible).astype(np.uint8)
