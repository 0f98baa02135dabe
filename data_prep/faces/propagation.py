"""Propagation: what was seen of a covered pixel, carried to the present.

It is strictly causal, takes one call per frame, and needs no model and no
face. With x_t the frame at time t and v_t its visible part, the propagated
frame is

  (1)  c_t = x_t where v_t = 1, and Σ_k W_k r_k elsewhere,

a mean of sources r_k, all of them carried to the present pose by optical flow
(`flow.motion`): the propagated frame before, c_{t−1}, whose newest pixels are
one frame old, and the remembered frames that fit the present one best
(`sightings`), which come straight from where they were seen and so neither
blur nor drift. Light and colour of a source follow the visible surroundings,

  (2)  r_k ← r_k + (G ∗ v (x − r_k)) / (G ∗ v + λ),

and sources are weighed, pixel by pixel, by how well they fit around it,

  (3)  E_k = (H ∗ v |x − r_k|²) / (H ∗ v) + 2 mean_near |x − r_k|²
  (4)  W_k ∝ b_k (E_k + 1)^−1.5

with Gaussians G and H, and b_k the trust in a source before its fit is known.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.faces.carried import Source, Surroundings, carry, mean_square
from data_prep.faces.flow import (
  enlarge,
  flow_searcher,
  planes,
  sample,
  spread,
  targets,
)
from data_prep.faces.sightings import Picture, Sightings, thumbnail

# The order of `Propagated.sources`: the propagated frame before; the best and
# the second of the remembered frames; the last frame that nothing covered.
SOURCES = ("chained", "best", "second", "past")

# b_k of equation (4). The frame before fits well for being near in time.
_TRUST = {"chained": 0.2, "best": 1.0, "second": 0.6, "past": 0.0}
_ERROR = 14.0  # grey levels of expected error that take confidence to 1/e
_STEPS = 60.0  # frames in the chain that do
# Of a cut: shares of the picture's own contrast, and grey levels, by which
# two frames differ although flow has aligned them.
_CUT_SHARE = 0.6
_CUT_LEVELS = 12.0
_CUT_SIDE = 64  # pixels
_MEMORY = 128 * 2**20  # bytes of remembered frames
_MOST = 32  # remembered frames


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
  """How frames are propagated.

  Attributes:
    dilation: pixels by which the mask grows, against halos and shadows.
    flow_side: pixels of the longer side at which flow is computed; larger
      frames are shrunk to it.
    fit: whether remembered frames take part, beside the frame before.
  """

  dilation: int = 0
  flow_side: int = 320
  fit: bool = True


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
  """

  image: np.ndarray
  valid: np.ndarray
  confidence: np.ndarray
  cut: bool = False
  sources: np.ndarray | None = None
  source_valid: np.ndarray | None = None


class Propagator:
  """Propagates a video, frame by frame.

  Memory is bounded: at most 32 frames and 128 MiB of them are remembered.
  After a scene cut, and when the frames' size changes, it begins anew. A cut
  is where the visible parts of two successive frames, aligned by coarse flow,
  still differ by more than 0.6 of the picture's own contrast.

  Args:
    config: settings.
    with_sources: also give what `Propagated.sources` describes.

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
    with_sources: bool = False,
  ):
    self._config = config or PropagationConfig()
    self._with_sources = with_sources
    self._search = flow_searcher()
    self._cut_search = cv2.DISOpticalFlow_create(
      cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST
    )
    self.reset()

  def reset(self) -> None:
    """Forgets everything, as before the first frame."""
    self._before: Picture | None = None
    self._steps = np.zeros(0, np.float32)
    self._sightings: Sightings | None = None

  def __call__(self, image: np.ndarray, mask: np.ndarray) -> Propagated:
    """Takes the next frame.

    Args:
      image: (h, w, 3) uint8 RGB.
      mask: (h, w) uint8, 1 on the occlusion.
    """
    covered = (mask > 0).astype(np.uint8)
    if self._config.dilation:
      side = 2 * self._config.dilation + 1
      disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
      covered = cv2.dilate(covered, disc)
    image = image.copy()  # the caller's may be written to
    now = self._picture(image, 1 - covered)
    if self._before is not None and self._before.image.shape != image.shape:
      self.reset()
    cut = self._before is not None and self._is_cut(now, self._before)
    if cut:
      self.reset()
    if self._sightings is None:
      frames = int(np.clip(_MEMORY // image.nbytes, 2, _MOST))
      self._sightings = Sightings(frames)
    sources: dict[str, Source] = {}
    if covered.any():
      now, sources = self._sources(now)
    result, now, steps = self._fused(image, covered, now, sources, cut)
    self._sightings.remember(now)
    self._before, self._steps = now, steps
    return result

  def _picture(self, image: np.ndarray, visible: np.ndarray) -> Picture:
    """A frame at the scales that are needed; covered parts as they are."""
    height, width = visible.shape
    scale = min(1.0, self._config.flow_side / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    share = cv2.resize(
      visible.astype(np.float32), size, interpolation=cv2.INTER_AREA
    )
    seen = (share > 0.999).astype(np.float32)
    return _painted(image, shrunk, seen, seen)

  def _is_cut(self, now: Picture, before: Picture) -> bool:
    """Whether two frames are of different scenes."""
    height, width = now.grey.shape
    scale = min(1.0, _CUT_SIDE / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    a, b, v, u = (
      cv2.resize(x, size, interpolation=cv2.INTER_AREA)
      for x in (now.grey, before.grey, now.visible, before.known)
    )
    flow = self._cut_search.calc(a, b, None)
    where = targets(flow)
    both = (v > 0.99) & (sample(u, where) > 0.99)
    if both.mean() < 0.1:
      return False  # too little to tell by
    here = a[both].astype(np.float32)
    there = sample(b, where)[both].astype(np.float32)
    here, there = here - here.mean(), there - there.mean()  # light may change
    misfit = float(np.abs(here - there).mean())
    contrast = float(np.abs(here).mean() + np.abs(there).mean()) / 2
    return misfit > max(_CUT_LEVELS, _CUT_SHARE * contrast)

  def _sources(self, now: Picture) -> tuple[Picture, dict[str, Source]]:
    """Carries what is known to the present.

    Returns:
      The frame, painted over at the flow's scale where it is covered, and the
      sources by their name.
    """
    if self._before is None or self._sightings is None:
      return now, {}
    before = self._before
    hidden = (now.visible == 0).astype(np.uint8)
    around = Surroundings.of(now.visible)
    # Without the occluder, whose edges would pull the flow along.
    still = cv2.copyTo(before.small, hidden, now.small.copy())
    still = _painted(now.image, still, now.visible)
    sources = {
      "chained": carry(
        self._search,
        still,
        before,
        around,
        _TRUST["chained"],
        self._steps,
      )
    }
    # Rounds, and keeps to the range; `convertScaleAbs` would fold it.
    chained = cv2.add(sources["chained"].small, 0, dtype=cv2.CV_8U)
    painted = cv2.copyTo(chained, hidden, now.small.copy())
    now = _painted(now.image, painted, now.visible)
    if not self._config.fit:
      return now, sources
    wanted: dict[str, Picture] = dict(
      zip(SOURCES[1:3], self._sightings.best(now, 2), strict=False)
    )
    past = self._sightings.latest
    if self._with_sources and past is not None:
      wanted["past"] = past
    for name, picture in wanted.items():
      if picture is not before or name == "past":
        sources[name] = carry(self._search, now, picture, around, _TRUST[name])
    return now, sources

  def _fused(
    self,
    image: np.ndarray,
    covered: np.ndarray,
    now: Picture,
    sources: dict[str, Source],
    cut: bool,
  ) -> tuple[Propagated, Picture, np.ndarray]:
    """Equation (1): the result, the frame to remember, its steps."""
    whole = (0, 0, image.shape[1], image.shape[0])
    if not covered.any():
      result = Propagated(
        image=image.copy(),
        valid=np.ones_like(covered),
        confidence=np.ones(covered.shape, np.float32),
        cut=cut,
      )
      steps = np.zeros(now.grey.shape, np.float32)
      return self._with(result, {}, covered, whole), now, steps
    total = np.zeros(now.grey.shape, np.float32)
    for source in sources.values():
      total += source.weight
    known = total > 0
    shares = {k: s.weight / (total + 1e-20) for k, s in sources.items()}
    small = np.zeros(now.small.shape, np.float32)
    for name, share in shares.items():
      small += planes(share) * sources[name].small
    left, top, width, height = cv2.boundingRect(covered)
    box = (left, top, width, height)
    part = np.s_[top : top + height, left : left + width]
    filling = self._filling(shares, sources, box, image.shape)
    holes = enlarge((~known).astype(np.float32), image.shape[1::-1], box)
    if holes.any():
      seen = np.maximum(now.visible, known)[..., None].astype(np.float32)
      paint = _paint(
        np.where(now.visible[..., None] > 0, now.small, small), seen
      )
      smooth = enlarge(paint, image.shape[1::-1], box)
      filling += holes[..., None] * (smooth - filling)
    out = image.copy()
    out[part] = np.where(
      covered[part][..., None] > 0, np.clip(filling.round(), 0, 255), out[part]
    )
    valid = 1 - covered
    valid[part] |= (holes < 0.5).astype(np.uint8)
    steps = np.zeros_like(total)
    for name, share in shares.items():
      steps += share * sources[name].steps
    confidence = _confidence(shares, sources, small, steps, now)
    sure = np.ones(covered.shape, np.float32)
    sure[part] = np.where(
      covered[part] > 0,
      enlarge(confidence, image.shape[1::-1], box) * valid[part],
      1,
    )
    result = Propagated(image=out, valid=valid, confidence=sure, cut=cut)
    result = self._with(result, sources, covered, box)
    shrunk = cv2.resize(out, now.grey.shape[::-1], interpolation=cv2.INTER_AREA)
    known = np.maximum(now.visible, known.astype(np.float32))
    now = _painted(out.copy(), shrunk, now.visible, known)
    return result, now, np.where(now.visible > 0, np.float32(0), steps)

  def _filling(
    self,
    shares: dict[str, np.ndarray],
    sources: dict[str, Source],
    box: tuple[int, int, int, int],
    shape: tuple[int, ...],
  ) -> np.ndarray:
    """The weighted mean of sources within a box, (height, width, 3)."""
    size = (shape[1], shape[0])
    filling = np.zeros((box[3], box[2], 3), np.float32)
    for name, share in shares.items():
      if share.any():
        carried = sources[name].within(box, size)
        filling += planes(enlarge(share, size, box)) * carried
    return filling

  def _with(
    self,
    result: Propagated,
    sources: dict[str, Source],
    covered: np.ndarray,
    box: tuple[int, int, int, int],
  ) -> Propagated:
    """Adds the single sources, if they are asked for."""
    if not self._with_sources:
      return result
    left, top, width, height = box
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
    return Propagated(
      image=result.image,
      valid=result.valid,
      confidence=result.confidence,
      cut=result.cut,
      sources=images,
      source_valid=valid,
    )


def _confidence(
  shares: dict[str, np.ndarray],
  sources: dict[str, Source],
  mean: np.ndarray,
  steps: np.ndarray,
  now: Picture,
) -> np.ndarray:
  """exp(−√(misfit + disagreement) / s − steps / s'), (i, j) float32."""
  expected = np.zeros(now.grey.shape, np.float32)
  for name, share in shares.items():
    source = sources[name]
    apart = mean_square(source.small - mean)
    expected += share * (source.error + apart)
  return np.exp(-np.sqrt(expected) / _ERROR - steps / _STEPS)


def _painted(
  image: np.ndarray,
  small: np.ndarray,
  visible: np.ndarray,
  known: np.ndarray | None = None,
) -> Picture:
  grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
  return Picture(
    image=image,
    small=small,
    grey=grey,
    visible=visible,
    known=visible if known is None else known,
    thumbnail=thumbnail(grey),
    thumbnail_visible=thumbnail(visible),
  )


def _paint(small: np.ndarray, known: np.ndarray) -> np.ndarray:
  """Smooth colours for what nobody has seen, (i, j, 3) float32."""
  side = max(small.shape)
  values = small.astype(np.float32) * known
  mean = values.sum((0, 1)) / (known.sum() + 1e-6)
  colour, total = mean * 1e-4, 1e-4
  for sigma in (0.02, 0.06, 0.2):  # the near above the far
    weight = (0.01 / sigma) ** 2
    colour = colour + weight * spread(values, sigma * side)
    total = total + weight * spread(known, sigma * side)
  return (colour / total).astype(np.float32)
