"""How hands come in front of a face: when, where, and for how long.

Some clips begin covered, some stay covered for seconds, in some the face is
never free all at once. Coordinates are those of the crop, in units of its
side; times in seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from data_prep.occlusion import cutouts, objects
from data_prep.occlusion.cutouts import Cutout
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.occlusion.shapes import Skin

# How a clip goes, and how often.
COURSES = {
  "visits": 0.42,  # comes and goes
  "begins covered": 0.16,
  "long": 0.16,  # rests for seconds
  "parts": 0.13,  # one hand comes before the other leaves
  "passing": 0.13,  # waves past quickly
}
_HAND_LENGTH = (0.75, 1.1)  # over the face's height
_TWO_HANDS = 0.2
_COARSE = 64  # pixels of the grid that places are chosen on
_JUMP = 10  # seconds without a frame, after which everything starts anew


@dataclass(frozen=True, kw_only=True)
class Passage:
  """One time that something comes; a smooth way through places.

  Attributes:
    cutout: what comes.
    times: (k,) of the places, ascending.
    places: (k, 2) of the cut-out's middle.
    angles: (k,) turns of its arm, from downward towards the left, in radians.
    scale: of the cut-out, crop sides per pixel.
    rub: (3,) size in crop sides, hertz and direction of a to and fro.
    sway: (3,) phases of a slight unrest.
    height: distance from the face, in crop sides: throws the shadow.
  """

  cutout: Cutout
  times: np.ndarray
  places: np.ndarray
  angles: np.ndarray
  scale: float
  rub: np.ndarray
  sway: np.ndarray
  height: float

  @property
  def start(self) -> float:
    """When it comes into the picture, or before."""
    return float(self.times[0])

  @property
  def end(self) -> float:
    """When it has left."""
    return float(self.times[-1])

  def placement(self, time: float) -> np.ndarray:
    """(2, 3) map from the cut-out's pixels to the unit crop."""
    k = int(
      np.clip(np.searchsorted(self.times, time) - 1, 0, len(self.times) - 2)
    )
    share = (time - self.times[k]) / (self.times[k + 1] - self.times[k])
    share = float(np.clip(share, 0, 1))
    share = share * share * (3 - 2 * share)
    centre = self.places[k] + share * (self.places[k + 1] - self.places[k])
    angle = self.angles[k] + share * (self.angles[k + 1] - self.angles[k])
    unrest = np.sin(np.array([2.1, 2.7, 1.7]) * time + self.sway)
    size, rate, direction = self.rub
    # Rubs only where it rests.
    inner = np.clip((time - self.times[1]) / 0.3, 0, 1)
    inner *= np.clip((self.times[-2] - time) / 0.3, 0, 1)
    rub = size * inner * np.sin(2 * np.pi * rate * time)
    along = np.array([np.cos(direction), np.sin(direction)])
    centre = centre + 0.01 * unrest[:2] + rub * along
    angle += 0.025 * unrest[2]
    cosine, sine = self.scale * np.cos(angle), self.scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, centre - linear @ self.cutout.anchor])


@dataclass
class _Lane:
  """One hand's passages, one after the other."""

  coming: Iterator[Passage]
  now: list[Passage] = field(default_factory=list)


class Trajectories:
  """Everything that comes in one clip.

  Args:
    config: kinds, ratios, durations; of the kinds, `sprites:DIR` are hands.
    rng: decides everything else.
    skin: of the person.
    face_outline: (k, 2) points around the face in its crop, in crop sides.
    resolution: of the crop in pixels; hands are drawn about as fine.
    objects_share: of passages in which a thing comes in place of a hand.

  Attributes:
    course: one of `COURSES`.
  """

  def __init__(
    self,
    config: OcclusionConfig,
    rng: np.random.Generator,
    *,
    skin: Skin,
    face_outline: np.ndarray,
    resolution: int,
    objects_share: float,
  ):
    self._config = config
    self._rng = rng
    self._skin = skin
    self._resolution = max(64, resolution)
    self._objects_share = objects_share
    self._face = np.zeros((_COARSE, _COARSE), np.uint8)
    hull = cv2.convexHull((face_outline * _COARSE).astype(np.float32))
    cv2.fillConvexPoly(self._face, hull.round().astype(np.int32), 1)
    self._height = float(np.ptp(face_outline, axis=0).max())
    self.course = str(rng.choice(list(COURSES), p=list(COURSES.values())))
    self._lanes: list[_Lane] = []
    self._last: float | None = None

  def at(self, time: float) -> list[Passage]:
    """What is there at a time, the last one on top; times must not decrease."""
    # Timestamps need not start at 0, and may jump.
    if self._last is None or time > self._last + _JUMP:
      self._lanes = [_Lane(lane) for lane in self._courses(time)]
    self._last = time
    return [passage for lane in self._lanes for passage in _present(lane, time)]

  def _courses(self, time: float) -> list[Iterator[Passage]]:
    """What each hand does, from `time` on."""
    rng = self._rng
    lanes = [self._course(self.course, time)]
    if self.course != "parts" and rng.random() < _TWO_HANDS:
      lanes.append(self._course("visits", time + rng.uniform(0, 1.0)))
    return lanes

  def _course(self, name: str, time: float) -> Iterator[Passage]:
    rng, config = self._rng, self._config
    if name == "parts":
      yield from self._alternating(time)
    start = time + rng.uniform(*config.pause)
    if name == "begins covered":
      start = time - rng.uniform(0.5, 1.0)
      first = self._visit(start, rest=rng.uniform(0.7, 2.0))
      yield first
      start = first.end + rng.uniform(*config.pause)
    elif name == "long" and rng.random() < 0.3:
      start = time - rng.uniform(0.3, 1.0)
    while True:
      if name == "passing" and rng.random() < 0.8:
        passage = self._pass(start)
      elif name == "long":
        passage = self._visit(start, rest=rng.uniform(1.8, 5.0))
      else:
        passage = self._visit(start, rest=rng.uniform(*config.seconds))
      yield passage
      start = passage.end + rng.uniform(*config.pause)

  def _alternating(self, time: float) -> Iterator[Passage]:
    """One is there before the other leaves, on another side."""
    rng = self._rng
    start, side = time - rng.uniform(0.6, 1.2), rng.choice([-1.0, 1.0])
    while True:
      passage = self._visit(start, rest=rng.uniform(0.9, 2.2), side=side)
      yield passage
      # The next one has arrived when this one begins to leave.
      start = float(passage.times[-2]) - rng.uniform(0.4, 0.6)
      side = -side

  def _visit(
    self, start: float, *, rest: float, side: float | None = None
  ) -> Passage:
    """Comes, rests, perhaps at several places, and leaves."""
    rng = self._rng
    cutout, scale = self._cutout()
    # Arms come from below and from the sides, seldom from above.
    direction = np.pi / 2 + np.clip(rng.normal(0, 0.75), -1.9, 1.9)
    target = 0.5 + rng.normal(0, 0.09, 2)
    if side is not None:
      direction = np.pi / 2 - side * rng.uniform(0.2, 1.1)
      target = np.array([0.5 + side * rng.uniform(0.05, 0.14), target[1]])
    away = np.array([np.cos(direction), np.sin(direction)])
    angle = direction - np.pi / 2 + rng.normal(0, 0.25)
    ratio = rng.uniform(*self._config.ratio)
    target = self._fitted(cutout, scale, ratio, target, away, angle)
    outside = self._outside(cutout, scale, away)
    enter, leave = rng.uniform(0.18, 0.45, 2)
    times, places = [start, start + enter], [outside, target]
    turns = [angle + rng.normal(0, 0.35), angle]
    # Long rests are restless ones.
    left = rest
    while left > 1.0 and rng.random() < 0.6:
      hold, move = rng.uniform(0.3, 0.9), rng.uniform(0.2, 0.6)
      left -= hold + move
      times += [times[-1] + hold, times[-1] + hold + move]
      shifted = target + rng.normal(0, 0.07, 2)
      places += [places[-1], shifted]
      turns += [turns[-1], angle + rng.normal(0, 0.2)]
    times.append(times[-1] + max(left, 0.05))
    places.append(places[-1])
    turns.append(turns[-1])
    times.append(times[-1] + leave)
    places.append(outside + rng.normal(0, 0.1, 2))
    turns.append(turns[-1] + rng.normal(0, 0.35))
    rubs = rng.random() < 0.35
    rub = [rubs * rng.uniform(0.015, 0.06), rng.uniform(1.2, 3.0), direction]
    rub[2] += rng.choice([0, np.pi / 2])
    return self._passage(cutout, scale, times, places, turns, rub)

  def _pass(self, start: float) -> Passage:
    """Crosses the face, or waves in front of it."""
    rng = self._rng
    cutout, scale = self._cutout()
    lean = rng.normal(0, 0.5)
    away = np.array([np.sin(lean), np.cos(lean)])
    across = np.array([np.cos(lean), -np.sin(lean)]) * rng.choice([-1, 1])
    middle = 0.5 + rng.normal(0, 0.1, 2) + rng.uniform(-0.1, 0.35) * away
    reach = 0.95 + 0.5 * scale * cutout.length
    angle = -lean
    if rng.random() < 0.5:
      duration = rng.uniform(0.3, 0.9)
      share = np.array([0, 0.35, 0.65, 1])
      places = [middle + reach * (2 * s - 1) * across for s in share]
      times = start + duration * share
      turns = angle + np.linspace(-0.3, 0.3, 4) * np.sign(across[0])
    else:  # to and fro
      count = int(rng.integers(2, 6))
      half = rng.uniform(0.12, 0.28)
      outside = self._outside(cutout, scale, away)
      swings = [middle + half * (-1) ** k * across for k in range(count)]
      places = [outside, *swings, outside]
      gaps = [0.25, *rng.uniform(0.15, 0.35, count - 1), 0.25]
      times = start + np.cumsum([0.0, *gaps])
      lean_out = rng.uniform(0.1, 0.4) * np.sign(across[0])
      turns = [angle + lean_out * (-1) ** k for k in range(count + 2)]
    return self._passage(cutout, scale, times, places, turns, [0, 1, 0])

  def _passage(
    self,
    cutout: Cutout,
    scale: float,
    times: Sequence[float] | np.ndarray,
    places: Sequence[np.ndarray],
    turns: Sequence[float] | np.ndarray,
    rub: Sequence[float],
  ) -> Passage:
    rng = self._rng
    return Passage(
      cutout=cutout,
      times=np.asarray(times, float),
      places=np.stack(list(places)),
      angles=np.asarray(turns, float),
      scale=scale,
      rub=np.asarray(rub, float),
      sway=rng.uniform(0, 2 * np.pi, 3),
      height=rng.uniform(0.005, 0.05),
    )

  def _cutout(self) -> tuple[Cutout, float]:
    """Something to come, and its scale in crop sides per pixel."""
    rng = self._rng
    length = rng.uniform(*_HAND_LENGTH) * self._height
    pixels = 1.15 * length * self._resolution
    kinds = self._config.kinds
    kind = kinds[int(rng.integers(len(kinds)))]
    if rng.random() < self._objects_share or not kind.startswith("sprites:"):
      cutout = objects.draw(kind, rng, self._skin, pixels)
    else:
      folder = kind.removeprefix("sprites:")
      cutout = cutouts.hand(folder, rng, self._skin.colour, pixels)
    return cutout, length / cutout.length

  def _outside(
    self, cutout: Cutout, scale: float, away: np.ndarray
  ) -> np.ndarray:
    """Where nothing of it is seen, in the direction of its arm."""
    above = float(np.hypot(*cutout.anchor)) * scale
    return 0.5 + (0.72 + above) * away

  def _fitted(
    self,
    cutout: Cutout,
    scale: float,
    ratio: float,
    target: np.ndarray,
    away: np.ndarray,
    angle: float,
  ) -> np.ndarray:
    """Where it covers `ratio` of the face, or as much as it can.

    It is drawn back along `away`, as far as need be.
    """
    alpha = cv2.extractChannel(cutout.image, 3)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]]) * _COARSE
    # Coarse pixels are larger than the picture's.
    alpha = cv2.blur(alpha, (3, 3))
    wanted = ratio * int(self._face.sum())

    def covered(reach: float) -> int:
      place = _COARSE * (target + reach * away) - linear @ cutout.anchor
      placed = cv2.warpAffine(
        alpha, np.column_stack([linear, place]), (_COARSE, _COARSE)
      )
      return int(
        np.count_nonzero(cv2.bitwise_and(placed, 127 * self._face) > 60)
      )

    low, high = 0.0, 1.2
    for _ in range(8):
      reach = (low + high) / 2
      low, high = (reach, high) if covered(reach) >= wanted else (low, reach)
    return target + low * away


def _present(lane: _Lane, time: float) -> list[Passage]:
  """The lane's passages at a time; those that have gone are dropped."""
  lane.now = [passage for passage in lane.now if passage.end > time]
  while not lane.now or lane.now[-1].start <= time:
    following = next(lane.coming)
    if following.end > time:
      lane.now.append(following)
  return [passage for passage in lane.now if passage.start <= time]
