"""Synthetic occlusion: shapes that enter, rest on the face, and leave.

Pasting them on clips without occlusion gives both the occluded frame and its
truth. Everything is a function of the seed. Coordinates are those of the crop,
with its side as the unit.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.occlusion import objects, shapes
from data_prep.occlusion.composite import DILATION, composite, disc
from data_prep.occlusion.shapes import Shape, Skin
from diffmvr_jax.errors import InputError

KINDS = ("hand", "box", "strokes")
_OBJECTS = ("objects", *objects.KINDS)
_BLUR_STEP = 3  # pixels between two exposures of a moving shape
_MAX_BLUR_STEPS = 16
_SHUTTER = 0.5  # share of a frame's time that the shutter is open
_JUMP = 10  # seconds without a frame, after which the visits start anew
_COARSE = 64  # pixels on a side of the grid on which sizes are chosen


@dataclass(frozen=True, kw_only=True)
class OcclusionConfig:
  """How faces are occluded.

  Attributes:
    kinds: some of `hand`, `box`, `strokes`, `objects`, one of
      `objects.KINDS`, and `sprites:DIR`; each visit draws one of them. With
      objects or sprites, `data_prep.occlusion.sprites` pastes all of them, and
      with sprites a few objects too.
    ratio: smallest and largest share of the face that a resting shape covers.
    seconds: shortest and longest time that a shape rests.
    pause: shortest and longest time between two visits, in seconds.
  """

  kinds: tuple[str, ...] = ("hand",)
  ratio: tuple[float, float] = (0.15, 0.5)
  seconds: tuple[float, float] = (0.25, 0.8)
  pause: tuple[float, float] = (0.15, 0.6)

  @property
  def moves_like_hands(self) -> bool:
    """Whether what comes rests, rubs and throws a shadow, as hands do."""
    return any(
      kind in _OBJECTS or kind.startswith("sprites:") for kind in self.kinds
    )

  def __post_init__(self) -> None:
    """Refuses settings that mean nothing."""
    for kind in self.kinds:
      if kind.startswith("sprites:"):
        for path in shapes.sprite_files(kind.removeprefix("sprites:")):
          shapes.load_sprite(path, side=8)
      elif kind not in (*KINDS, *_OBJECTS):
        raise InputError(
          f"--paste {kind}: expected one of {', '.join((*KINDS, *_OBJECTS))}, "
          "sprites:DIR"
        )
    if not 0 < self.ratio[0] <= self.ratio[1] <= 1:
      raise InputError(f"--occlusion-ratio {self.ratio}: not within (0, 1]")
    for name in ("seconds", "pause"):
      low, high = getattr(self, name)
      if not 0 <= low <= high:
        raise InputError(f"--occlusion-{name} {low}-{high}: not ascending")


@dataclass(frozen=True, kw_only=True)
class Visit:
  """One visit of a shape; times in seconds, lengths in crop sides.

  Attributes:
    shape: the shape that comes.
    start: time at which it comes into view.
    enter: how long it takes to its resting place.
    rest: how long it stays there.
    leave: how long it takes to go.
    outside: (2,) where its middle starts and ends.
    target: (2,) where its middle rests.
    angle: its rotation, in radians.
    scale: its width.
    sway: (3,) phases of its swaying in x, y and rotation.
  """

  shape: Shape
  start: float
  enter: float
  rest: float
  leave: float
  outside: np.ndarray
  target: np.ndarray
  angle: float
  scale: float
  sway: np.ndarray

  @property
  def end(self) -> float:
    """Time at which the shape has left."""
    return self.start + self.enter + self.rest + self.leave

  def placement(self, time: float) -> np.ndarray:
    """Returns the (2, 3) map from the unit sprite to the unit crop."""
    since, until = time - self.start, self.end - time
    ramp = np.clip(min(since / self.enter, until / self.leave), 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    sway = 0.015 * np.sin(9 * time + self.sway)
    centre = self.outside + (self.target - self.outside) * ramp + sway[:2]
    angle = self.angle + 2 * sway[2]
    cosine, sine = self.scale * np.cos(angle), self.scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, centre - linear @ [0.5, 0.5]])


class Occlusion:
  """Pastes shapes that come and go in front of the face of one clip.

  Args:
    config: kinds, ratios and durations.
    seed: decides everything else.
    skin: skin of the person.
    face_outline: (k, 2) points around the face in its crop, in crop sides.
    fps: frames per second, which decide the motion blur.
    resolution: side of the crop in pixels; sprites are drawn about as fine.

  Example:
    >>> skin = Skin(colour=np.full(3, 160.0), texture=np.ones((8, 8)))
    >>> outline = np.array([[0.2, 0.2], [0.8, 0.2], [0.5, 0.9]])
    >>> occlusion = Occlusion(
    ...   OcclusionConfig(), seed=0, skin=skin, face_outline=outline, fps=25,
    ...   resolution=64,
    ... )
    >>> frame = np.zeros((64, 64, 3), np.uint8)
    >>> image, mask = occlusion.paste(frame, time=0.0)
    >>> image.shape, mask.shape
    ((64, 64, 3), (64, 64))
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
  ):
    self._config = config
    self._rng = np.random.default_rng(seed)
    self._skin = skin
    self._side = min(384, max(128, resolution))
    self._fps = fps
    self._face = np.zeros((_COARSE, _COARSE), np.uint8)
    hull = cv2.convexHull((face_outline * _COARSE).astype(np.float32))
    cv2.fillConvexPoly(self._face, hull.round().astype(np.int32), 1)
    # The first frames stay free, so that there is a past frame.
    self._visit = self._plan(self._rng.uniform(*config.pause))

  def paste(
    self, image: np.ndarray, time: float, to_image: np.ndarray | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Puts the shape on an image; times must not decrease.

    Args:
      image: (h, w, 3) uint8.
      time: time of the frame, in seconds.
      to_image: (2, 3) map from the unit crop to the image's pixels; None means
        that the image is the crop.

    Returns:
      The occluded image, and its mask, (h, w) uint8: 1 on everything that
      changed and slightly beyond.
    """
    while time >= self._visit.end:
      # Timestamps need not start at 0, and may jump.
      end = self._visit.end if time < self._visit.end + _JUMP else time
      self._visit = self._plan(end + self._rng.uniform(*self._config.pause))
    empty = np.zeros(image.shape[:2], np.uint8)
    if time < self._visit.start:
      return image, empty
    if to_image is None:
      to_image = unit_to_pixels(image.shape[1])
    sprite, low = self._render(time, to_image, image.shape[:2])
    if not sprite[..., 3].any():
      return image, empty
    crop_side = float(np.sqrt(abs(np.linalg.det(to_image[:, :2]))))
    return composite(image, sprite, low, crop_side)

  def _plan(self, start: float) -> Visit:
    rng, config = self._rng, self._config
    kind = config.kinds[int(rng.integers(len(config.kinds)))]
    shape = self._shape(kind)
    # A forearm points away from the face, to where the hand comes from.
    direction = rng.uniform(-0.15, 1.15) * np.pi
    away = np.array([np.cos(direction), np.sin(direction)])
    angle = direction - np.pi / 2
    target = 0.5 + rng.normal(0, 0.08, 2)
    ratio = rng.uniform(*config.ratio)
    scale, reach = self._fit(
      shape(start), ratio, target, away, rng.uniform(0.8, 1.1)
    )
    target = target + reach * away
    return Visit(
      shape=shape,
      start=start,
      enter=rng.uniform(0.12, 0.3),
      rest=rng.uniform(*config.seconds),
      leave=rng.uniform(0.12, 0.3),
      outside=0.5 + (0.75 + 0.6 * scale) * away,
      target=target,
      angle=angle,
      scale=scale,
      sway=rng.uniform(0, 2 * np.pi, 3),
    )

  def _shape(self, kind: str) -> Shape:
    if kind == "hand":
      return shapes.hand(self._rng, self._skin, self._side)
    if kind == "box":
      return shapes.box(self._rng, self._side)
    if kind == "strokes":
      return shapes.strokes(self._rng, self._side)
    files = shapes.sprite_files(kind.removeprefix("sprites:"))
    chosen = files[int(self._rng.integers(len(files)))]
    return shapes.load_sprite(chosen, self._side)

  def _fit(
    self,
    sprite: np.ndarray,
    ratio: float,
    target: np.ndarray,
    away: np.ndarray,
    scale: float,
  ) -> tuple[float, float]:
    """Finds a size and a place where the shape covers `ratio` of the face.

    The shape is first made larger, until it covers enough when it lies at
    `target`. Then it is drawn back along `away`, as far as it still does.

    Returns:
      The shape's width, and how far it is drawn back, in crop sides.
    """
    coarse = cv2.extractChannel(sprite, 3)
    factor = _COARSE / coarse.shape[1]
    coarse = cv2.resize(
      coarse, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
    )
    wanted = ratio * int(self._face.sum())
    margin = disc(DILATION * _COARSE)
    # Turns the sprite's downward direction to `away`.
    turn = np.array([[away[1], away[0]], [-away[0], away[1]]])

    def covers(scale: float, reach: float) -> bool:
      linear = scale * turn
      shift = target + reach * away - linear @ [0.5, 0.5]
      placed = cv2.warpAffine(
        coarse,
        np.column_stack([linear, _COARSE * shift]),
        (_COARSE, _COARSE),
      )
      # As far beyond the shape as the mask will reach.
      mask = cv2.dilate((placed > 127).astype(np.uint8), margin)
      shared = np.count_nonzero(cv2.bitwise_and(mask, self._face))
      return int(shared) >= wanted

    while not covers(scale, 0.0) and scale < 2.5:
      scale *= 1.15
    low, high = 0.0, 1.2
    for _ in range(8):
      reach = (low + high) / 2
      low, high = (reach, high) if covers(scale, reach) else (low, reach)
    return scale, low

  def _render(
    self, time: float, to_image: np.ndarray, shape: tuple[int, int]
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the placed sprite, blurred by its motion, and its corner."""
    visit = self._visit
    sprite = visit.shape(time)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    corners = corners * sprite.shape[1::-1]
    to_unit = _scaling(1 / self._side)

    def place(t: float) -> tuple[np.ndarray, np.ndarray]:
      placed = compose(to_image, visit.placement(t)) @ to_unit
      return placed, corners @ placed[:, :2].T + placed[:, 2]

    half = 0.5 * _SHUTTER / self._fps
    moved = np.abs(place(time + half)[1] - place(time - half)[1]).max()
    steps = int(np.clip(moved / _BLUR_STEP, 1, _MAX_BLUR_STEPS))
    times = time + half * (2 * np.arange(steps) + 1 - steps) / steps
    maps, ends = zip(*(place(t) for t in times), strict=True)
    outer = np.concatenate(ends)
    bounds = np.array(shape)[::-1]
    low = np.clip(np.floor(outer.min(0)).astype(int) - 1, 0, bounds)
    high = np.clip(np.ceil(outer.max(0)).astype(int) + 2, 0, bounds)
    if (high <= low).any():
      return np.zeros((1, 1, 4), np.uint8), low
    width, height = int(high[0] - low[0]), int(high[1] - low[1])
    total = np.zeros((height, width, 4), np.float32)
    for m in maps:
      local = m - np.column_stack([np.zeros((2, 2)), low])
      placed = cv2.warpAffine(sprite, local, (width, height))
      cv2.accumulate(placed, total)
    return cv2.convertScaleAbs(total, alpha=1 / len(maps)), low


def unit_to_pixels(side: int) -> np.ndarray:
  """Returns the map from the unit square to a square image's pixels."""
  return np.array([[side, 0, -0.5], [0, side, -0.5]], np.float64)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
  """Returns the (2, 3) map that applies `inner`, then `outer`."""
  linear = outer[:, :2] @ inner[:, :2]
  return np.column_stack([linear, outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def _scaling(factor: float) -> np.ndarray:
  return np.diag([factor, factor, 1.0])
