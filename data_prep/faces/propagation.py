"""Propagation: what was seen of a covered pixel, carried to the present.

It takes one call per frame, needs no model and no face, and is strictly causal
unless it is given frames that come later. With x_t the frame at time t and v_t
its visible part, the propagated frame is

  (1)  c_t = x_t where v_t = 1, and Σ_k W_k r_k elsewhere,

a mean of sources r_k, all of them carried to the present pose by optical flow
(`flow.motion`): the propagated frame before, c_{t−1}, whose newest pixels are
one frame old, and the remembered or later frames that fit the present one
best (`sightings`), which come straight from where they were seen and so neither
blur nor drift. The chain is expected to move on as it did, and if a frame was
looked back at from the frame before, too, the flow to it is expected to go on
from there. Light and colour of a source follow the visible surroundings,

  (2)  r_k ← r_k + (G ∗ v (x − r_k)) / (G ∗ v + λ),

and sources are weighed, pixel by pixel, by how well they fit around it,

  (3)  E_k = (H ∗ v |x − r_k|²) / (H ∗ v) + 2 mean_near |x − r_k|²
  (4)  W_k ∝ b_k (E_k + 1)^−1.5

with Gaussians G and H, and b_k the trust in a source before its fit is known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import cv2
import numpy as np

from data_prep.faces.blended import blended
from data_prep.faces.carried import (
  Source,
  Surroundings,
  carry,
  glimpse,
  painted_smoothly,
)
from data_prep.faces.cuts import CutFinder
from data_prep.faces.flow import (
  FlowSearcher,
  composed,
  sample,
  targets,
)
from data_prep.faces.flow_prior import FlowPrior
from data_prep.faces.propagated import (
  SOURCES,
  Propagated,
  looks_of,
  with_carried_sources,
)
from data_prep.faces.sightings import Picture, Sightings, picture_of
from diffmvr_jax.media.pace import Pace

# b_k of equation (4). The frame before fits well for being near in time.
_TRUST = {"chained": 0.35, "best": 1.0, "second": 0.6, "past": 0.0}
_INERTIA = np.float32(0.75)  # share of a motion that is expected to go on
_MEMORY = 128 * 2**20  # bytes of remembered frames
_MOST = 32  # remembered frames


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
  """How frames are propagated.

  Attributes:
    dilation: pixels by which the mask grows, against halos and shadows.
    flow_side: pixels of the longer side at which flow is computed; larger
      frames are shrunk to it.
    looks: how many remembered or later frames take part, beside the frame
      before.
  """

  dilation: int = 0
  flow_side: int = 320
  looks: int = 2


class Propagator:
  """Propagates a video, frame by frame.

  Memory is bounded: at most 32 frames and 128 MiB of them are remembered.
  After a scene cut, and when the frames' size changes, it begins anew. A cut
  is where the visible parts of two successive frames, aligned by coarse flow,
  still differ by more than 0.6 of the picture's own contrast.

  Args:
    config: settings.
    prior: completes the flow under the mask, if the frames are crops of one
      face.
    with_sources: whether to give what `Propagated.sources` describes as well.
    with_looks: whether to give what `Propagated.looks` describes as well.
    pace: of how many covered frames in a row remembered or later ones take part
      in one. The others are carried from the frame before alone, in less time.
      None means that they always take part.

  Example:
    >>> propagate = Propagator()
    >>> result = propagate(
    ...   np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    ... )
    >>> result.image.shape, int(result.valid.min())
    ((32, 32, 3), 1)
  """

  def __init__(
    self,
    config: PropagationConfig | None = None,
    *,
    prior: FlowPrior | None = None,
    with_sources: bool = False,
    with_looks: bool = False,
    pace: Pace | None = None,
  ):
    self._pace = pace or Pace()
    self._config = config or PropagationConfig()
    self._with_sources, self._with_looks = with_sources, with_looks
    self._search = FlowSearcher(prior)
    self._quick_search = FlowSearcher(prior, quick=True)
    self._is_cut = CutFinder()
    self._count = 0
    self.reset()

  def reset(self) -> None:
    """Forgets everything, as before the first frame."""
    self._before: Picture | None = None
    self._steps = np.zeros(0, np.float32)
    # Flow of the chain; None if the frame before was not covered.
    self._motion: np.ndarray | None = None
    # From the frame before to what it looked back at, by number.
    self._flows: dict[int, np.ndarray] = {}
    self._rest = 0  # covered frames until remembered ones take part again
    self._sightings: Sightings | None = None

  def __call__(
    self,
    image: np.ndarray,
    mask: np.ndarray,
    number: int | None = None,
    later: Sequence[Picture] = (),
  ) -> Propagated:
    """Takes the next frame.

    Args:
      image: (h, w, 3) uint8 RGB.
      mask: (h, w) uint8, 1 on the occlusion.
      number: number of the frame, which `Propagated.looks` gives later; None
        means that frames are counted from 0.
      later: what `picture` gave for frames that follow, of the same scene.
    """
    if number is None:
      number = self._count
    self._count = number + 1
    covered = self._covered(mask)
    image = image.copy()  # the caller's may be written to
    now = self._picture(image, 1 - covered, number)
    if self._before is not None and self._before.image.shape != image.shape:
      self.reset()
    cut = self._before is not None and self._is_cut(now, self._before)
    if cut:
      self.reset()
    if self._sightings is None:
      size = image.nbytes + covered.nbytes
      frames = int(np.clip(_MEMORY // size, 2, _MOST))
      self._sightings = Sightings(frames)
    sources: dict[str, Source] = {}
    flows: dict[int, np.ndarray] = {}
    if covered.any():
      now, sources, flows = self._sources(now, later)
    else:
      self._rest, self._motion = 0, None
    result, now, steps = blended(covered, now, sources)
    self._sightings.remember(now)
    self._before, self._steps = now, steps
    self._flows = flows
    if self._with_sources:
      result = with_carried_sources(result, sources, covered)
    looks = looks_of(sources, image.shape) if self._with_looks else ()
    return replace(result, cut=cut, looks=looks)

  def picture(
    self, image: np.ndarray, mask: np.ndarray, number: int
  ) -> Picture:
    """Takes a frame that is still to come, for `later`.

    Args:
      image: see `__call__`; it is not to be written to.
      mask: likewise.
      number: likewise.

    Returns:
      The frame, painted smoothly where it is covered.
    """
    covered = self._covered(mask)
    taken = self._picture(image, 1 - covered, number)
    if not covered.any():
      return taken
    seen = taken.visible[..., None]
    paint = painted_smoothly(taken.small, seen).round().astype(np.uint8)
    size = (image.shape[1], image.shape[0])
    return taken.painted(
      np.where(seen > 0, taken.small, paint),
      image=cv2.copyTo(cv2.resize(paint, size), covered, image.copy()),
    )

  def _covered(self, mask: np.ndarray) -> np.ndarray:
    covered = (mask > 0).astype(np.uint8)
    if not self._config.dilation:
      return covered
    side = 2 * self._config.dilation + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.dilate(covered, disc)

  def _picture(
    self, image: np.ndarray, visible: np.ndarray, number: int
  ) -> Picture:
    """Takes a frame at the scales that are needed."""
    height, width = visible.shape
    scale = min(1.0, self._config.flow_side / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    return picture_of(image, visible, size, number)

  def _sources(
    self, now: Picture, later: Sequence[Picture]
  ) -> tuple[Picture, dict[str, Source], dict[int, np.ndarray]]:
    """Carries what is known to the present.

    Returns:
      The frame, painted over at the flow's scale where it is covered, the
      sources by their name, and flows to the frames looked at by number.
    """
    assert self._sightings is not None
    before, steps = self._before, self._steps
    if before is None and later:  # stands for the frame before
      (before,) = self._sightings.best(now, 1, later)
      steps = np.zeros(now.grey.shape, np.float32)
    if before is None:
      return now, {}, {}
    hidden = (now.visible == 0).astype(np.uint8)
    around = Surroundings.of(now.visible, self._search.prior)
    # Without the occluder, whose edges would pull the flow along; but the paint
    # pulls as well, and so it is moved to about its place. (Frames that a live
    # stream drops have no numbers, so a gap of these goes unnoticed.)
    if self._motion is None or before.number + 1 != now.number:
      still = now.painted(cv2.copyTo(before.small, hidden, now.small.copy()))
      moved = glimpse(self._quick_search, still, before)
    else:
      moved = sample(before.small, targets(_INERTIA * self._motion))
    chained = carry(
      self._search,
      now.painted(cv2.copyTo(moved, hidden, now.small.copy())),
      before,
      around,
      _TRUST["chained"],
      steps,
    )
    self._motion = None if self._before is None else chained.flow
    sources = {"chained": chained}
    # Rounds, and keeps to the range; `convertScaleAbs` would fold it.
    paint = cv2.add(chained.small, 0, dtype=cv2.CV_8U)
    now = now.painted(cv2.copyTo(paint, hidden, now.small.copy()))
    onward = {
      number: composed(chained.flow, flow)
      for number, flow in self._flows.items()
    }
    if self._rest or not self._config.looks:
      self._rest = max(0, self._rest - 1)
      return now, sources, onward
    self._rest = self._pace.every - 1

    def looked_back(name: str, picture: Picture) -> Source:
      return carry(
        self._search,
        now,
        picture,
        around,
        _TRUST.get(name, _TRUST["second"]),
        expected=onward.get(picture.number),
      )

    best = self._sightings.best(now, self._config.looks, later)
    for name, picture in zip(_names(), best, strict=False):
      if picture is not before:
        sources[name] = looked_back(name, picture)
    past = self._sightings.latest
    if (self._with_sources or self._with_looks) and past is not None:
      for source in list(sources.values()):
        if source.picture is past:
          sources["past"] = replace(source, weight=0 * source.weight)
      if "past" not in sources:
        sources["past"] = looked_back("past", past)
    return now, sources, {s.picture.number: s.flow for s in sources.values()}


def _names() -> Iterator[str]:
  """The name of the frame that fits best, of the second, and so on."""
  yield from SOURCES[1:3]
  yield from (f"look {place}" for place in count(3))
