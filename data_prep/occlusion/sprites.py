"""Real hands that pass before a face, rest on it, rub it, and leave.

A drop-in for `data_prep.occlusion.paste.Occlusion`, with trajectories as people
move: some clips begin covered, some stay covered for seconds, in some the
face is never free all at once. Coordinates are those of the crop, in units of
its side; times in seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from data_prep.occlusion import cutouts, objects
from data_prep.occlusion.cutouts import Cutout
from data_prep.occlusion.paste import OcclusionConfig, compose, unit_to_pixels
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
_BLUR_STEP = 2.0  # pixels between two exposures of a moving hand
_MAX_BLUR_STEPS = 16
_SHUTTER = (0.25, 0.6)
_JUMP = 10  # seconds without a frame, after which everything starts anew
_LEAST_ALPHA = 5  # of 255; less of a hand is not seen
_LEAST_SHADOW = 0.02  # likewise


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


class SpriteOcclusion:
  """What comes and goes in front of one clip's face.

  Args:
    config: kinds, ratios, durations; of the kinds, `sprites:DIR` are hands.
    seed: decides everything else.
    skin: of the person.
    face_outline: (k, 2) points around the face in its crop, in crop sides.
    fps: frames per second, for motion blur.
    resolution: of the crop in pixels; hands are drawn about as fine.
    objects_share: of passages in which a thing comes in place of a hand.
  """

  def __init__(
    self,
    config: OcclusionConfig,
    *,
    seed: int,
    skin: Skin,
    face_outline: np.ndarray,
    fps: float,
    resolution: int,
    objects_share: float = 0.08,
  ):
    self._config = config
    self._rng = rng = np.random.default_rng(seed)
    self._skin = skin
    self._fps = fps
    self._resolution = max(64, resolution)
    self._objects_share = objects_share
    self._face = np.zeros((_COARSE, _COARSE), np.uint8)
    hull = cv2.convexHull((face_outline * _COARSE).astype(np.float32))
    cv2.fillConvexPoly(self._face, hull.round().astype(np.int32), 1)
    self._height = float(np.ptp(face_outline, axis=0).max())
    # Shadows fall on the head, not on what is far behind it.
    head = cv2.dilate(self._face, _disc(0.1 * _COARSE))
    self._near = cv2.GaussianBlur(255 * head, (0, 0), 0.04 * _COARSE)
    self._shutter = rng.uniform(*_SHUTTER)
    self._shadow = rng.uniform(0.0, 0.5)
    self._light = rng.normal([0, 0.8], [0.7, 0.4])
    self._sharper = float(rng.choice([1.0, rng.uniform(1.0, 1.4)]))
    self._softness: list[tuple[Passage, float]] = []
    self._first: np.ndarray | None = None
    self._grain: np.ndarray | None = None
    self.course = str(rng.choice(list(COURSES), p=list(COURSES.values())))
    self._lanes: list[_Lane] = []
    self._last: float | None = None

  def paste(
    self, image: np.ndarray, time: float, to_image: np.ndarray | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Puts what comes on an image; times must not decrease.

    Args:
      image: (h, w, 3) uint8.
      time: of the frame, in seconds.
      to_image: (2, 3) map from the unit crop to the image's pixels; None: the
        image is the crop.

    Returns:
      The occluded image, and its mask, (h, w) uint8: 1 on everything that
      changed.
    """
    # Timestamps need not start at 0, and may jump.
    if self._last is None or time > self._last + _JUMP:
      self._lanes = [_Lane(lane) for lane in self._courses(time)]
    self._last = time
    if to_image is None:
      to_image = unit_to_pixels(image.shape[1])
    # A hand is lit as the picture is: its light changes alike.
    mean = np.array(cv2.mean(image)[:3]) + 4
    if self._first is None:
      self._first = mean
    self._gain = np.clip(mean / self._first, 0.6, 1.6)
    mask = np.zeros(image.shape[:2], np.uint8)
    pasted = image
    for lane in self._lanes:
      for passage in _present(lane, time):
        pasted, changed = self._put(pasted, passage, time, to_image)
        mask |= changed
    return pasted, mask

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
    """Crosses the face, or waves before it."""
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

  def _passage(self, cutout, scale, times, places, turns, rub) -> Passage:
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

  def _put(
    self,
    image: np.ndarray,
    passage: Passage,
    time: float,
    to_image: np.ndarray,
  ) -> tuple[np.ndarray, np.ndarray]:
    """One cut-out and its shadow on the image; the mask of both."""
    height, width = image.shape[:2]
    empty = np.zeros((height, width), np.uint8)
    soft = self._softness_for(passage, image, to_image)
    sprite = self._rendered(passage, time, to_image, (height, width), soft)
    if sprite is None:
      return image, empty
    alpha = cv2.extractChannel(sprite, 3)
    side = float(np.sqrt(abs(np.linalg.det(to_image[:, :2]))))
    sprite = self._grained(image, sprite)
    shadow = self._shadow_of(alpha, passage, side, to_image)
    mask = cv2.dilate((alpha > 0).astype(np.uint8), _CROSS)
    kept = 1 - alpha.astype(np.float32) / 255
    if shadow is not None:
      mask |= (shadow > 0).astype(np.uint8)
      kept *= 1 - shadow
    mixed = image * kept[..., None] + sprite[..., :3]
    mixed = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, mixed, image), mask

  def _rendered(
    self,
    passage: Passage,
    time: float,
    to_image: np.ndarray,
    shape: tuple[int, int],
    soft: float,
  ) -> np.ndarray | None:
    """(h, w, 4) float32 premultiplied, blurred by its motion; None: unseen."""
    picture = passage.cutout.image
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    corners = corners * picture.shape[1::-1]

    def place(t: float) -> tuple[np.ndarray, np.ndarray]:
      placed = compose(to_image, passage.placement(t))
      return placed, corners @ placed[:, :2].T + placed[:, 2]

    half = 0.5 * self._shutter / self._fps
    # The arm's far end moves most, and is not seen.
    upper = np.s_[[0, 2]]
    moved = np.abs(place(time + half)[1] - place(time - half)[1])[upper].max()
    steps = int(np.clip(moved / _BLUR_STEP, 1, _MAX_BLUR_STEPS))
    times = time + half * (2 * np.arange(steps) + 1 - steps) / steps
    maps, ends = zip(*(place(t) for t in times), strict=True)
    ends = np.concatenate(ends)
    if (ends.max(0) < 0).any() or (ends.min(0) > shape[::-1]).any():
      return None
    total = np.zeros((*shape, 4), np.float32)
    for placed in maps:
      cv2.accumulate(cv2.warpAffine(picture, placed, shape[::-1]), total)
    total /= len(maps)
    if soft > 0.25:
      total = cv2.GaussianBlur(total, (0, 0), soft)
    total[..., :3] *= self._gain
    total[total[..., 3] < _LEAST_ALPHA] = 0
    return total if total[..., 3].any() else None

  def _softness_for(
    self, passage: Passage, image: np.ndarray, to_image: np.ndarray
  ) -> float:
    """Sigma of the blur that makes a cut-out as soft as the image."""
    for known, soft in self._softness:
      if known is passage:
        return soft
    wanted = _crispness(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    scale = passage.scale * float(np.sqrt(abs(np.linalg.det(to_image[:, :2]))))
    picture = passage.cutout.image
    size = [max(8, round(scale * n)) for n in picture.shape[1::-1]]
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGBA2GRAY)
    inside = cv2.erode(
      (picture[..., 3] > 250).astype(np.uint8), np.ones((5, 5))
    )
    soft = 0.0
    while soft < 2.0 and inside.any():
      blurred = cv2.GaussianBlur(grey, (0, 0), soft) if soft else grey
      if _crispness(blurred, inside) <= self._sharper * wanted:
        break
      soft += 0.3
    self._softness = [(passage, soft), *self._softness[:3]]
    return soft

  def _grained(self, image: np.ndarray, sprite: np.ndarray) -> np.ndarray:
    """As noisy as the image."""
    if self._grain is None:
      sigma = min(_noise_of(image), 8.0)
      grain = np.random.default_rng(0).normal(size=(257, 263, 1))
      colour = np.random.default_rng(1).normal(size=(257, 263, 3))
      self._grain = (sigma * (0.8 * grain + 0.5 * colour)).astype(np.float32)
    height, width = sprite.shape[:2]
    top, left = self._rng.integers(0, 128, 2)
    rows = (top + np.arange(height)) % 257
    columns = (left + np.arange(width)) % 263
    grain = self._grain[rows[:, None], columns]
    result = sprite.copy()
    result[..., :3] += grain * (sprite[..., 3:] / 255)
    return result

  def _shadow_of(
    self,
    alpha: np.ndarray,
    passage: Passage,
    side: float,
    to_image: np.ndarray,
  ) -> np.ndarray | None:
    """(h, w) float32 share of light that is lost; 0 where it is not seen."""
    if self._shadow < 0.05:
      return None
    shift = 1.2 * passage.height * side * self._light
    moving = np.column_stack([np.eye(2), shift])
    moved = cv2.warpAffine(alpha, moving, alpha.shape[::-1])
    blur = max(0.6, (0.006 + 0.55 * passage.height) * side)
    soft = _blurred(moved, blur) * np.float32(self._shadow / 255)
    grid = to_image @ np.diag([1 / _COARSE, 1 / _COARSE, 1.0])
    near = cv2.warpAffine(self._near, grid, alpha.shape[::-1])
    soft *= near / np.float32(255)
    # Fades to nothing where the mask ends.
    return np.clip(soft - _LEAST_SHADOW, 0, None) * np.float32(
      1 / (1 - _LEAST_SHADOW)
    )


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def _present(lane: _Lane, time: float) -> list[Passage]:
  """The lane's passages at a time; those that have gone are dropped."""
  lane.now = [passage for passage in lane.now if passage.end > time]
  while not lane.now or lane.now[-1].start <= time:
    following = next(lane.coming)
    if following.end > time:
      lane.now.append(following)
  return [passage for passage in lane.now if passage.start <= time]


def _crispness(grey: np.ndarray, inside: np.ndarray | None) -> float:
  """How much finest detail there is, over what is twice as coarse."""
  grey = grey.astype(np.float32)
  fine = cv2.GaussianBlur(grey, (0, 0), 0.7)
  coarse = cv2.GaussianBlur(grey, (0, 0), 1.4)
  first, second = cv2.absdiff(grey, fine), cv2.absdiff(fine, coarse)
  if inside is not None:
    first, second = first[inside > 0], second[inside > 0]
  return float(first.mean() / max(float(second.mean()), 1e-3))


def _noise_of(image: np.ndarray) -> float:
  """Standard deviation of the finest detail of smooth places."""
  grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
  kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
  detail = np.abs(cv2.filter2D(grey, -1, kernel))
  return float(np.percentile(detail, 40) / 0.52)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
  """A Gaussian blur, computed as coarsely as it will be smooth."""
  height, width = image.shape
  step = max(1, int(sigma / 2))
  coarse = (max(1, width // step), max(1, height // step))
  image = cv2.resize(image, coarse, interpolation=cv2.INTER_AREA)
  image = cv2.GaussianBlur(image, (0, 0), sigma / step)
  return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _disc(radius: float) -> np.ndarray:
  side = 2 * max(1, round(radius)) + 1
  return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
