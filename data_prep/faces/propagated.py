"""What propagation gives for one frame."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from data_prep.faces.carried import Source
from data_prep.faces.flow import enlarge

# The propagated frame before; the best and the second of the remembered and
# later frames; the last frame that nothing covered.
SOURCES = ("chained", "best", "second", "past")


@dataclass(frozen=True, kw_only=True)
class Look:
  """A frame that was looked at, as it was, and the way there.

  Attributes:
    name: which of `SOURCES` it is.
    number: number of the frame, as the propagator was given it.
    picture: (h, w, 3) uint8: the frame where it was visible, elsewhere what
      was carried there. Not to be written to.
    known: (h, w) uint8, 1 where the picture shows what was seen.
    flow: (i, j, 2) float32: what the present frame shows at p, the picture
      shows at p + flow(p). In pixels x and y of the frame, on the flow's grid.
  """

  name: str
  number: int
  picture: np.ndarray
  known: np.ndarray
  flow: np.ndarray

  def flow_on_grid(self, side: int) -> np.ndarray:
    """Returns the flow on a grid of (side, side, 2), float32."""
    return cv2.resize(self.flow, (side, side), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True, kw_only=True)
class Propagated:
  """One propagated frame.

  Attributes:
    image: (h, w, 3) uint8: the frame where it is visible, elsewhere what was
      seen, at the present pose; smoothly painted where nothing was seen.
    valid: (h, w) uint8, 1 where the pixel is visible or was ever seen.
    confidence: (h, w) float32 in [0, 1]: 1 on visible pixels, 0 where nothing
      was seen; falls with the misfit around the pixel, the sources'
      disagreement, and the frames for which it has been in the chain only.
    cut: whether a new scene began with this frame.
    sources: (k, h, w, 3) uint8 in the order of `SOURCES`, if asked for; each
      is the frame where it is visible, and has followed its light.
    source_valid: (k, h, w) uint8, 1 where a source shows what was seen.
    looks: what was looked at, in the order of `SOURCES`, if asked for; empty
      if nothing is covered, or there is nothing to look at.
  """

  image: np.ndarray
  valid: np.ndarray
  confidence: np.ndarray
  cut: bool = False
  sources: np.ndarray | None = None
  source_valid: np.ndarray | None = None
  looks: tuple[Look, ...] = ()


def looks_of(
  sources: Mapping[str, Source], shape: tuple[int, ...]
) -> tuple[Look, ...]:
  """Returns what was looked back at, for a frame of (h, w, …)."""
  return tuple(
    _look(name, sources[name], shape) for name in SOURCES if name in sources
  )


def _look(name: str, source: Source, shape: tuple[int, ...]) -> Look:
  height, width = source.flow.shape[:2]
  scale = np.array([shape[1] / width, shape[0] / height], np.float32)
  return Look(
    name=name,
    number=source.picture.number,
    picture=source.picture.image,
    known=source.picture.valid,
    flow=source.flow * scale,
  )


def with_carried_sources(
  result: Propagated,
  sources: Mapping[str, Source],
  covered: np.ndarray,
) -> Propagated:
  """Adds each source alone, carried to the present.

  Args:
    result: the propagated frame.
    sources: the sources by name.
    covered: (h, w) uint8, 1 where the frame is covered.
  """
  left, top, width, height = cv2.boundingRect(covered)
  box = (left, top, width, height)
  part = np.s_[top : top + height, left : left + width]
  size = (covered.shape[1], covered.shape[0])
  images = np.stack([result.image] * len(SOURCES))
  valid = np.stack([1 - covered] * len(SOURCES))
  hidden = covered[part] > 0
  for place, name in enumerate(SOURCES):
    if name not in sources:
      continue
    source = sources[name]
    carried = np.clip(source.within(box, size).round(), 0, 255)
    known = enlarge(source.known.astype(np.float32), size, box) > 0.5
    shown = hidden & known
    images[place][part][shown] = carried[shown]
    valid[place][part][shown] = 1
  return replace(result, sources=images, source_valid=valid)
