"""Fills what other frames show, carried along by optical flow; no network.

`data_prep.faces.propagation` says how it is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from diffmvr_jax.data.windows import Window

# Standard deviation of what extends the flow under the mask, as a share of the
# crop's side.
_EXTENSION = 0.08


@dataclass(frozen=True)
class PropagationFiller:
  """Fills crops with the propagated image of their records; a `CropFiller`.

  Attributes:
    crop_size: side of the crops, in pixels.
    window: the number of frames that are filled in one call: no frame waits.
    aligned: what the records have to hold.
    provenance: what a restored file says of the method.
  """

  crop_size: int = 256
  window: int = 1
  aligned: str = "propagated"
  provenance: Mapping[str, Any] = field(
    default_factory=lambda: {"method": "propagation"}
  )

  def fill(
    self,
    window: Window,
    frame_index: np.ndarray,
    seed: int,
    *,
    previous: np.ndarray | None = None,
  ) -> np.ndarray:
    """Returns the propagated images, (frame, h, w, 3) uint8."""
    del frame_index, seed, previous
    return window["propagated"]

  def confidence(self, window: Window) -> np.ndarray:
    """Returns (frame, h, w) uint8; 0 where nothing was ever seen."""
    return window["propagated_confidence"][..., 0]


def propagated(clip: Window) -> np.ndarray:
  """Returns the propagated frames of a clip, (frame, h, w, 3) uint8.

  Those that records hold are not taken, since a prior that was learned from
  faces may have helped to make them.

  Args:
    clip: all frames of a clip in order, (frame, h, w, c), named as in the data
      contract.
  """
  from data_prep.faces.propagation import Propagator

  propagate = Propagator()
  pairs = zip(clip["frame"], clip["mask"][..., 0], strict=True)
  return np.stack([propagate(frame, mask).image for frame, mask in pairs])


def warped_past(clip: Window) -> np.ndarray:
  """Warps the past frame of each covered frame to it, by optical flow.

  Args:
    clip: arrays (frame, h, w, c), named as in the data contract.

  Returns:
    (frame, h, w, 3) uint8.
  """
  from data_prep.faces import flow

  search = flow.FlowSearcher()
  made = clip["frame"].copy()
  needed = clip["past_valid"] & clip["mask"].any((1, 2, 3))
  for i in np.flatnonzero(needed):
    past, covered = clip["past"][i], clip["mask"][i, ..., 0]
    # Without the occluder, whose edges would pull the flow along.
    frame = np.where(covered[..., None] > 0, past, clip["frame"][i])
    now, then = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (frame, past))
    visible = (covered == 0).astype(np.float32)
    way = flow.motion(
      search,
      (now, visible),
      (then, np.ones_like(visible)),
      _EXTENSION * len(covered),
    )
    made[i] = flow.sample(past, flow.targets(way), cv2.INTER_CUBIC)
  return made
