"""Crops that are finer than the network's.

The network sees them shrunk, by D, and what it makes of them, n, is enlarged,
by U. What is finer than that comes from where it was seen: with p the
propagated image and κ its confidence, a crop becomes

  y = U n + √κ (p − U D p)                                              (a)

so that the network decides everything that it can see, and where nothing was
ever seen, the crop is as fine as the network. Flow is searched in the crops
themselves, or in a live stream, where time is short, in the shrunk ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from diffmvr_jax.data.windows import Window
from diffmvr_jax.inference.crop_filling import CropFiller
from diffmvr_jax.inference.crop_restorer import CropRestorer

_AROUND = 8  # pixels of the network's that are filled beyond the mask


@dataclass(frozen=True)
class FineFiller:
  """Fills crops `factor` times as large as those of another method.

  Args:
    coarse: fills the shrunk crops.
    factor: how many times smaller they are.
  """

  coarse: CropFiller
  factor: int

  @property
  def crop_size(self) -> int:
    """Side of the crops, in pixels."""
    return self.factor * self.coarse.crop_size

  @property
  def window(self) -> int:
    """The largest number of frames that are filled in one call."""
    return self.coarse.window

  @property
  def aligned(self) -> str:
    """How much aligned guidance the windows have to hold."""
    return self.coarse.aligned

  @property
  def provenance(self) -> Mapping[str, Any]:
    """What a restored file says of the method, ready for JSON."""
    return self.coarse.provenance

  def confidence(self, window: Window) -> np.ndarray | None:
    """Tells how sure the method is, if it knows by itself."""
    found = self.coarse.confidence(shrunk(window, self.factor))
    if found is None:
      return None
    size = (self.crop_size, self.crop_size)
    return np.stack([cv2.resize(one, size) for one in found])

  def fill(
    self,
    window: Window,
    frame_index: np.ndarray,
    seed: int,
    *,
    previous: np.ndarray | None = None,
  ) -> np.ndarray:
    """Fills every crop by formula (a), see `FillWindow`."""
    small = shrunk(window, self.factor)
    if previous is not None:
      previous = _smaller(previous[None], self.factor)[0]
    coarse = self.coarse.fill(small, frame_index, seed, previous=previous)
    filled = window["frame"].copy()
    for i, image in enumerate(coarse):
      near = _place(small["mask"][i])
      fine = tuple(
        slice(self.factor * part.start, self.factor * part.stop)
        for part in near
      )
      seen = window["propagated"][i][fine]
      size = seen.shape[1::-1]
      sure = window["propagated_confidence"][i][fine].astype(np.float32) / 255
      of_seen = cv2.resize(
        small["propagated"][i][near], size, interpolation=cv2.INTER_CUBIC
      )
      filling = cv2.resize(image[near], size, interpolation=cv2.INTER_CUBIC)
      detail = cv2.subtract(seen, of_seen, dtype=cv2.CV_32F)
      filled[i][fine] = cv2.add(
        filling, np.sqrt(sure) * detail, dtype=cv2.CV_8U
      )
    return filled


def filler_of(network: CropRestorer) -> CropRestorer | FineFiller:
  """The network, in crops as fine as its `sampling.detail` says."""
  config = network.config
  usual = 1 if config.diffusion.anchor == "none" else 2
  detail = config.sampling.detail or usual
  return network if detail == 1 else FineFiller(network, detail)


def shrunk(window: Window, factor: int) -> Window:
  """A window with crops that are smaller by a factor.

  Masks cover what they touched. A place is known, or was seen, if all of it is.

  Args:
    window: arrays (frame, h, w, c), named as in the data contract.
    factor: divides height and width.

  Example:
    >>> mask = np.zeros((1, 8, 8, 1), np.uint8)
    >>> mask[0, 1, 1] = 1
    >>> shrunk({"mask": mask}, 2)["mask"][0, :2, :2, 0].tolist()
    [[1, 0], [0, 0]]
  """
  small = {}
  for name, value in window.items():
    if value.ndim < 4:  # a flag
      small[name] = value
    elif name == "mask":
      small[name] = (_smaller(255 * value, factor) > 0).astype(np.uint8)
    elif name == "source_known":
      small[name] = (_smaller(255 * value, factor) == 255).astype(np.uint8)
    elif name == "propagated_confidence":
      unseen = _smaller(255 * (value == 0).astype(np.uint8), factor) > 0
      small[name] = np.where(unseen, np.uint8(0), _smaller(value, factor))
    elif name == "source_flow":
      flow = _smaller(value.astype(np.float32), factor) / factor
      small[name] = flow.astype(value.dtype)
    else:
      small[name] = _smaller(value, factor)
  return small


def _smaller(values: np.ndarray, factor: int) -> np.ndarray:
  """Means of squares of pixels, (…, h, w, c)."""
  *lead, height, width, channels = values.shape
  size = (width // factor, height // factor)
  images = values.reshape(-1, height, width, channels)
  means = [
    cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images
  ]
  return np.stack(means).reshape(*lead, *size[::-1], channels)


def _place(mask: np.ndarray) -> tuple[slice, slice]:
  """Rows and columns around a mask (h, w, 1)."""
  left, top, width, height = cv2.boundingRect(mask)
  return (
    slice(max(0, top - _AROUND), min(len(mask), top + height + _AROUND)),
    slice(max(0, left - _AROUND), min(len(mask), left + width + _AROUND)),
  )
