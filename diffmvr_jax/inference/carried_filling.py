"""Fills most frames of a live stream by what the one before was given.

A frame that was not looked back from (`Propagator`'s pace) has one source, the
frame before. With c its propagated image, c' and y' the propagated image and
the filled crop of the frame before, and f the flow to that one,

  y(p) = c(p) + (y' − c')(p + f(p))                                     (a)

so what the network has changed moves on with the face, without the network.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from diffmvr_jax.data.windows import Window
from diffmvr_jax.inference.crop_filling import CropFiller

_IN_A_ROW = 3


class CarriedFiller:
  """Fills crops by another method, or by formula (a) where that is enough.

  At most three frames in a row are filled by formula (a), which blurs.

  Args:
    filler: the other method.
  """

  def __init__(self, filler: CropFiller):
    self._filler = filler
    self._last = -1  # number of the last frame that the other method filled

  @property
  def crop_size(self) -> int:
    """Side of the crops, in pixels."""
    return self._filler.crop_size

  @property
  def window(self) -> int:
    """The largest number of frames that are filled in one call."""
    return self._filler.window

  @property
  def aligned(self) -> str:
    """How much aligned guidance the windows have to hold."""
    return self._filler.aligned

  @property
  def provenance(self) -> Mapping[str, Any]:
    """What a restored file says of the method, ready for JSON."""
    return self._filler.provenance

  def confidence(self, window: Window) -> np.ndarray | None:
    """Tells how sure the other method is, if it knows by itself."""
    return self._filler.confidence(window)

  def fill(
    self,
    window: Window,
    frame_index: np.ndarray,
    seed: int,
    *,
    previous: np.ndarray | None = None,
  ) -> np.ndarray:
    """Fills every crop, see `FillWindow`."""
    number = int(frame_index[0])
    if (
      previous is None
      or len(frame_index) > 1
      or not 0 < number - self._last <= _IN_A_ROW
      or not _has_only_the_frame_before(window)
    ):
      self._last = int(frame_index[-1])
      return self._filler.fill(window, frame_index, seed, previous=previous)
    return carried(
      window["propagated"][0],
      window["sources"][0, 0],
      window["source_flow"][0, 0],
      previous,
    )[None]


def carried(
  propagated: np.ndarray,
  before: np.ndarray,
  flow: np.ndarray,
  filled: np.ndarray,
) -> np.ndarray:
  """Formula (a).

  Args:
    propagated: (h, w, 3) uint8, c.
    before: (h, w, 3) uint8, c'.
    flow: (i, j, 2), f, in pixels of the crop, on a grid over it.
    filled: (h, w, 3) uint8, y'.

  Returns:
    (h, w, 3) uint8.

  Example:
    >>> grey = np.full((8, 8, 3), 90, np.uint8)
    >>> still = np.zeros((4, 4, 2), np.float16)
    >>> int(carried(grey, grey, still, grey + np.uint8(7)).max())
    97
  """
  height, width = propagated.shape[:2]
  rows, columns = np.mgrid[:height, :width].astype(np.float32)
  away = cv2.resize(flow.astype(np.float32), (width, height))
  moved = cv2.remap(
    cv2.subtract(filled, before, dtype=cv2.CV_32F),
    away + np.stack([columns, rows], axis=-1),
    None,
    cv2.INTER_CUBIC,
    borderMode=cv2.BORDER_REPLICATE,
  )
  return cv2.add(propagated, moved, dtype=cv2.CV_8U)


def _has_only_the_frame_before(window: Window) -> bool:
  valid = window.get("source_valid")
  return valid is not None and bool(valid[0, 0]) and not valid[0, 1:].any()
