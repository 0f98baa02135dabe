"""Tells whether a new scene begins."""

import cv2
import numpy as np

from data_prep.faces.flow import sample, targets
from data_prep.faces.sightings import Picture

# Shares of the picture's own contrast, and grey levels, by which two frames
# differ although flow has aligned them.
_SHARE = 0.6
_LEVELS = 12.0
_SIDE = 64  # pixels
_ENOUGH = 0.1  # share of the frame that has to be visible in both


class CutFinder:
  """Compares successive frames, coarsely aligned by flow."""

  def __init__(self):
    self._search = cv2.DISOpticalFlow_create(
      cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST
    )

  def __call__(self, now: Picture, before: Picture) -> bool:
    """Returns whether two successive frames are of different scenes."""
    height, width = now.grey.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    a, b, v, u = (
      cv2.resize(x, size, interpolation=cv2.INTER_AREA)
      for x in (now.grey, before.grey, now.visible, before.known)
    )
    # By itself it goes down to single pixels of small pictures, which takes six
    # times as long, and aligns frames of different scenes too well. Each call
    # may change the setting.
    self._search.setFinestScale(1)
    # OpenCV's stubs lack that the output may be None, and be made.
    flow = self._search.calc(a, b, None)  # pyright: ignore
    where = targets(flow)
    both = (v > 0.99) & (sample(u, where) > 0.99)
    if both.mean() < _ENOUGH:
      return False
    here = a[both].astype(np.float32)
    there = sample(b, where)[both].astype(np.float32)
    here, there = here - here.mean(), there - there.mean()  # light may change
    misfit = float(np.abs(here - there).mean())
    contrast = float(np.abs(here).mean() + np.abs(there).mean()) / 2
    return misfit > max(_LEVELS, _SHARE * contrast)
