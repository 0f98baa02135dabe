"""Lets masks grow over all that has changed beside them.

Detectors of hands know no forearm, no sleeve and no shadow, and overlook what
is blurred. All of that came into the picture together with the hand. So each
covered frame x is compared with r, the last frame before anything was found,
carried to the present pose by the flow of what surrounds it, and brought up to
date wherever it is visible. Where the two agree but for a shift of s pixels,
nothing has changed:

  (1)  e(p) = max(0, x(p) − max_near r, min_near r − x(p)),

over the pixels within s of p, the largest of the colours, light corrected. What
has changed and touches the mask belongs to the occluder. So do narrow gaps and
inlets, where it has by chance the colour of what it covers, and, in the few
frames before it is found first and after it was found last, what has changed
where it is found then, or was.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.clip import Frame
from data_prep.faces.flow import FlowSearcher, sample, spread, targets

_SIDE = 320  # pixels of the longer side at which frames are compared
_REACH = 4  # frames beside those in which something is found
_CHANGE = 10.0  # grey levels of equation (1)
_NEAR = 2  # pixels, s
_RIM = 2  # pixels by which what has changed grows
_GAP = 4  # pixels over which it is joined, and to the mask
_INLET = 0.025  # share of the side, half of the width of a gap to fill
_SMOOTH = 0.05  # standard deviation of the flow, as a share of the side
_LIGHT = 0.15  # likewise, of the light
_MOST_LIGHT = 30.0  # grey levels by which light may differ
_SHARPNESS = 1 / 16**2  # 1 / σ² of how well pixels match, in grey levels
_ELSEWHERE = 0.6  # share of a frame; if more has changed, it is another scene


@dataclass
class _Looked:
  """A frame that waits, and what is known of it.

  Attributes:
    frame: the frame.
    mask: (h, w) uint8, as it came.
    small: (i, j, 3) uint8.
    grown: (i, j) uint8, the mask with what has changed; None if not known yet.
  """

  frame: Frame
  mask: np.ndarray
  small: np.ndarray
  grown: np.ndarray | None = None

  @property
  def found(self) -> np.ndarray:
    """The mask as it came, (i, j) uint8."""
    size = self.small.shape[1::-1]
    share = cv2.resize(255 * self.mask, size, interpolation=cv2.INTER_AREA)
    return (share > 0).astype(np.uint8)

  def finished(self) -> tuple[Frame, np.ndarray]:
    """The frame with its mask, which holds the one that came."""
    if self.grown is None or not self.grown.any():
      return self.frame, self.mask
    size = self.mask.shape[::-1]
    whole = cv2.resize(self.grown, size, interpolation=cv2.INTER_LINEAR)
    return self.frame, self.mask | whole


def with_what_changed(
  masked: Iterable[tuple[Frame, np.ndarray]], *, causal: bool
) -> Iterator[tuple[Frame, np.ndarray]]:
  """Adds to masks what has changed beside them since nothing was covered.

  Args:
    masked: frames of one size in order, each with its (h, w) uint8 mask, 1 on
      the occlusion.
    causal: whether no frame may wait for later ones. Then an occluder that
      comes in is masked from where it is found, not some frames before.

  Yields:
    Each frame with its mask, which holds the one that came.
  """
  growth = _Growth()
  window: deque[_Looked] = deque()
  for frame, mask in masked:
    now = _Looked(frame, mask, _small(frame.image))
    growth.look(now, window)
    window.append(now)
    if causal or len(window) > _REACH:
      yield window.popleft().finished()
  for waiting in window:
    yield waiting.finished()


class _Growth:
  """Grows masks, frame by frame."""

  def __init__(self):
    self._search = FlowSearcher()
    # The last frames in which nothing was found. The newest of them may show
    # the occluder all the same, and the oldest is what others are compared to,
    # brought up to date where they are visible.
    self._free: deque[np.ndarray] = deque(maxlen=_REACH + 1)
    self._last: np.ndarray | None = None  # the mask of the frame before
    self._since = 0  # frames since something was found

  def look(self, now: _Looked, waiting: Sequence[_Looked]) -> None:
    """Takes the next frame, while some before it wait."""
    if now.mask.any():
      if self._last is None:
        self._look_back(now, waiting)
      now.grown = self._last = self._grown(now, now.found, update=True)
      self._since = 0
      return
    self._since += 1
    if self._last is not None and self._since <= _REACH:
      now.grown = self._last = self._grown(now, self._last, update=True)
      return
    self._last = None
    self._free.append(now.small)

  def _look_back(self, now: _Looked, waiting: Sequence[_Looked]) -> None:
    """Masks what is found now in the frames before it."""
    seeds = self._grown(now, now.found, update=False)
    for earlier in reversed(waiting):
      seeds = earlier.grown = self._grown(earlier, seeds, update=False)
      if not seeds.any():
        return

  def _grown(
    self, now: _Looked, seeds: np.ndarray, *, update: bool
  ) -> np.ndarray:
    """The mask of a frame, and what has changed and touches the seeds.

    Args:
      now: the frame.
      seeds: (i, j) uint8.
      update: whether later frames are compared with what is visible of it.
    """
    if not self._free:
      return now.found
    hidden = seeds if self._last is None else seeds | self._last
    changed, before = _changed(self._search, now.small, hidden, self._free[0])
    grown = _without_gaps(now.found | _touching(changed, seeds))
    if update:
      self._free[0] = np.where(grown[..., None] > 0, before, now.small)
    return grown


def _small(image: np.ndarray) -> np.ndarray:
  height, width = image.shape[:2]
  scale = min(1.0, _SIDE / max(height, width))
  size = (max(16, round(width * scale)), max(16, round(height * scale)))
  return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _changed(
  search: FlowSearcher, now: np.ndarray, hidden: np.ndarray, then: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Where equation (1) is above the threshold, (i, j) uint8, and r, uint8.

  Args:
    search: finds flow.
    now: (i, j, 3) uint8, the present frame.
    hidden: (i, j) uint8, 1 on what is known to cover it.
    then: (i, j, 3) uint8, the free frame.
  """
  side = max(now.shape)
  visible = (1 - hidden).astype(np.float32)
  # Without the occluder, whose edges would pull the flow along.
  painted = cv2.cvtColor(
    cv2.copyTo(then, hidden, now.copy()), cv2.COLOR_RGB2GRAY
  )
  grey = cv2.cvtColor(then, cv2.COLOR_RGB2GRAY)
  flow = search(painted, grey)
  apart = cv2.subtract(painted, sample(grey, targets(flow)), dtype=cv2.CV_32F)
  weights = visible * np.exp(-_SHARPNESS * apart * apart)
  x, y = cv2.split(flow)
  wide = spread(cv2.merge([weights * x, weights * y, weights]), _SMOOTH * side)
  steady = wide[..., :2] / (wide[..., 2:] + np.float32(1e-6))
  carried = sample(then, targets(steady))
  before = carried.astype(np.float32)
  present = cv2.GaussianBlur(now.astype(np.float32), (0, 0), 1)
  light = np.clip(present - before, -_MOST_LIGHT, _MOST_LIGHT)
  light = spread(light * visible[..., None], _LIGHT * side)
  share = spread(visible[..., None], _LIGHT * side)
  before += light / (share + np.float32(0.1))
  square = np.ones((2 * _NEAR + 1, 2 * _NEAR + 1), np.uint8)
  above = present - cv2.dilate(before, square)
  below = cv2.erode(before, square) - present
  changed = (np.maximum(above, below).max(-1) > _CHANGE).astype(np.uint8)
  changed = cv2.medianBlur(changed, 2 * _NEAR + 1)
  if changed.mean() > _ELSEWHERE:
    changed[:] = 0
  return changed, carried


def _touching(changed: np.ndarray, seeds: np.ndarray) -> np.ndarray:
  """The connected parts of `changed` that touch the seeds, without holes."""
  disc = _disc(_GAP)
  joined = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, disc)
  near = cv2.dilate(seeds, disc)
  _, labels = cv2.connectedComponents(joined)
  kept = np.isin(labels, np.setdiff1d(labels[near > 0], 0)).astype(np.uint8)
  outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
  cv2.drawContours(kept, outlines, -1, 1, cv2.FILLED)
  return cv2.dilate(kept, _disc(_RIM))


def _without_gaps(mask: np.ndarray) -> np.ndarray:
  """A mask with its narrow gaps and inlets."""
  radius = max(1, round(_INLET * max(mask.shape)))
  rim = 2 * radius
  # An inlet may come in from the edge of the frame.
  wide = cv2.copyMakeBorder(mask, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
  closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, _disc(radius))
  return closed[rim:-rim, rim:-rim]


def _disc(radius: int) -> np.ndarray:
  side = 2 * radius + 1
  return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
