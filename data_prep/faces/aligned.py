"""Guidance that is aligned with the frame, as records hold it."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from data_prep.faces.flow_prior import FlowPrior
from data_prep.faces.propagated import SOURCES, Look, Propagated
from data_prep.faces.propagation import PropagationConfig, Propagator
from data_prep.faces.sightings import Picture
from diffmvr_jax.data.record_codec import SOURCES_PER_FRAME
from diffmvr_jax.media.pace import Pace

# Nothing; the propagated image and its confidence; beside these the frames
# that it was made of, as they were, and the flow to them.
Aligned = Literal["none", "propagated", "sources"]

# Other frames that take part. Crops are small, so more can be afforded
# than for whole pictures.
LOOKS = 6
_FINENESS = 16  # steps per pixel of a flow: it compresses to half, so


class AlignedGuidance:
  """Propagates the crops of a clip, and gives what records hold of it.

  Args:
    wanted: how much of it.
    prior: how faces move, see `data_prep.faces.flow_prior`; None if unknown.
    flow_side: side in pixels to which crops are shrunk for the search of flow;
      None means that of `PropagationConfig`.
    looks: other frames that take part, see `PropagationConfig`.
    pace: see `Propagator`; it counts only if sources are wanted.
  """

  def __init__(
    self,
    wanted: Aligned,
    prior: FlowPrior | None = None,
    flow_side: int | None = None,
    looks: int = LOOKS,
    pace: Pace | None = None,
  ):
    assert len(SOURCES) == SOURCES_PER_FRAME
    config = PropagationConfig(looks=looks)
    if flow_side is not None:
      config = dataclasses.replace(config, flow_side=flow_side)
    self._wanted = wanted
    self._propagate = Propagator(
      config,
      prior=prior,
      with_looks=wanted == "sources",
      pace=pace if wanted == "sources" else None,
    )

  def __call__(
    self,
    image: np.ndarray,
    mask: np.ndarray,
    index: int,
    later: Sequence[Picture] = (),
  ) -> dict[str, Any]:
    """Takes the next crop; returns attributes of its `FrameRecord` by name.

    Args:
      image: (s, s, 3) uint8.
      mask: (s, s) uint8, 1 on everything that covers the crop.
      index: number of the frame in its video.
      later: what `picture` gave for crops that follow, of the same scene.
    """
    if self._wanted == "none":
      return {}
    result = self._propagate(image, mask, index, later)
    guidance: dict[str, Any] = {
      # The very same array is stored as the same bytes.
      "propagated": result.image if mask.any() else image,
      "propagated_confidence": confidence_levels(result),
    }
    if self._wanted == "sources":
      guidance |= _sources(result.looks, len(image))
    return guidance

  def picture(self, image: np.ndarray, mask: np.ndarray, index: int) -> Picture:
    """Takes a crop that is still to come, for `later`.

    Args:
      image: see `__call__`; it is not to be written to.
      mask: likewise.
      index: likewise.

    Returns:
      The crop, painted smoothly where it is covered.
    """
    return self._propagate.picture(image, mask, index)


def confidence_levels(result: Propagated) -> np.ndarray:
  """Returns the confidence in (h, w) uint8; 0 only if nothing was ever seen."""
  levels = np.round(255 * result.confidence).astype(np.uint8)
  return np.where(result.valid > 0, np.maximum(levels, 1), 0).astype(np.uint8)


def _sources(looks: tuple[Look, ...], size: int) -> dict[str, Any]:
  side = size // 2
  index = np.full(len(SOURCES), -1, np.int64)
  flow = np.zeros((len(SOURCES), side, side, 2), np.float16)
  images: list[np.ndarray | None] = [None] * len(SOURCES)
  known: list[np.ndarray | None] = [None] * len(SOURCES)
  for look in looks:
    place = SOURCES.index(look.name)
    index[place] = look.number
    flow[place] = np.round(_FINENESS * look.flow_on_grid(side)) / _FINENESS
    images[place], known[place] = look.picture, look.known
  return {
    "source_index": index,
    "source_flow": flow,
    "source_images": tuple(images),
    "source_known": tuple(known),
  }
