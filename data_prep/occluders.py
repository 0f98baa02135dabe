"""Synthetic occlusion: drawn hands that enter, rest and leave.

Everything is a function of the seed. Coordinates are those of the crop.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_CANVAS = 256  # side of a sprite, in pixels
_DILATION = 1 / 40  # of the crop's side, how far the mask reaches past the hand


@dataclass(frozen=True)
class Visit:
  """One time that the hand comes, in frames and crop sides."""

  start: int
  enter: int
  rest: int
  leave: int
  outside: np.ndarray
  target: np.ndarray
  angle: float
  scale: float

  @property
  def end(self) -> int:
    """First frame after the visit."""
    return self.start + self.enter + self.rest + self.leave


class Hand:
  """A hand over the face of one clip.

  Args:
    seed: decides shape, path and timing.
    frames: length of the clip.
    size: side of the crop, in pixels.
    skin: (3,) RGB that the hand's colour is drawn around.

  Example:
    >>> hand = Hand(seed=0, frames=30, size=64, skin=np.array([200, 150, 130]))
    >>> image, mask = hand.paste(np.zeros((64, 64, 3), np.uint8), 0)
    >>> image.shape, mask.shape
    ((64, 64, 3), (64, 64))
  """

  def __init__(self, *, seed: int, frames: int, size: int, skin: np.ndarray):
    rng = np.random.default_rng(seed)
    self._size = size
    colour = np.clip(
      skin * rng.uniform(0.8, 1.1) + rng.normal(0, 8, 3), 20, 250
    )
    self._sprite = _draw_hand(rng, colour)
    self._visits = []
    clock = int(rng.integers(2, 9))
    while clock < frames:
      visit = _plan_visit(rng, clock)
      self._visits.append(visit)
      clock = visit.end + int(rng.integers(4, 16))
    self._sway = rng.uniform(0, 2 * np.pi, 3)

  def paste(
    self, image: np.ndarray, frame: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Puts the hand on a crop.

    Args:
      image: (size, size, 3) uint8.
      frame: which frame of the clip this is.

    Returns:
      The occluded crop and its mask, (size, size) uint8, 1 on the hand and
      slightly beyond.
    """
    visit = next((v for v in self._visits if v.start <= frame < v.end), None)
    if visit is None:
      return image, np.zeros(image.shape[:2], np.uint8)
    sprite = cv2.warpAffine(
      self._sprite,
      self._placement(visit, frame),
      (self._size, self._size),
      flags=cv2.INTER_AREA,
    )
    alpha = sprite[..., 3:]
    occluded = image * (1 - alpha) + sprite[..., :3]
    mask = (alpha[..., 0] > 1 / 255).astype(np.uint8)
    radius = max(1, round(self._size * _DILATION))
    kernel = cv2.getStructuringElement(
      cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)
    )
    occluded = np.clip(np.round(occluded), 0, 255).astype(np.uint8)
    return occluded, cv2.dilate(mask, kernel)

  def _placement(self, visit: Visit, frame: int) -> np.ndarray:
    since, until = frame - visit.start, visit.end - 1 - frame
    ramp = min((since + 1) / visit.enter, (until + 1) / visit.leave, 1.0)
    ramp = ramp * ramp * (3 - 2 * ramp)
    sway = 0.015 * np.sin(0.35 * frame + self._sway)
    centre = visit.outside + (visit.target - visit.outside) * ramp + sway[:2]
    angle = visit.angle + 2 * sway[2]
    scale = visit.scale * self._size / _CANVAS
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    shift = centre * self._size - linear @ np.full(2, _CANVAS / 2)
    return np.column_stack([linear, shift])


def _plan_visit(rng: np.random.Generator, start: int) -> Visit:
  # The forearm points away from the face, to where the hand comes from.
  direction = rng.uniform(-0.15, 1.15) * np.pi
  away = np.array([np.cos(direction), np.sin(direction)])
  return Visit(
    start=start,
    enter=int(rng.integers(3, 8)),
    rest=int(rng.integers(6, 20)),
    leave=int(rng.integers(3, 8)),
    outside=0.5 + 1.2 * away,
    target=0.5 + rng.normal(0, 0.13, 2) + 0.05 * away,
    angle=direction - np.pi / 2,
    scale=rng.uniform(0.6, 1.0),
  )


def _draw_hand(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
  """A premultiplied RGBA sprite, float32; fingers up, forearm down."""
  middle = _CANVAS / 2
  sprite = np.zeros((_CANVAS, _CANVAS, 4), np.float32)
  wrist = np.array([middle, 0.72 * _CANVAS])
  elbow = wrist + np.array([0, 0.4 * _CANVAS])
  _limb(sprite, [wrist, elbow], 0.13, colour * 0.97)
  spread, curl = rng.uniform(0.02, 0.16), rng.uniform(0.55, 1.0)
  thumb_side = rng.choice([-1, 1])
  knuckles = np.array([middle, 0.5 * _CANVAS])
  for i, reach in enumerate((0.24, 0.29, 0.31, 0.27)):
    sideways = (1.5 - i) * thumb_side * -1
    shift = np.array([sideways * 0.075 * _CANVAS, abs(sideways) * 3])
    base = knuckles + shift
    lean = sideways * spread + rng.normal(0, 0.04)
    bone = reach * _CANVAS * curl * 0.5
    first = base + bone * np.array([np.sin(lean), -np.cos(lean)])
    lean += rng.normal(0, 0.1)
    tip = first + bone * np.array([np.sin(lean), -np.cos(lean)])
    tone = colour * rng.uniform(0.94, 1.02)
    _limb(sprite, [base, first, tip], 0.038, tone)
  palm = [wrist - np.array([0, 6]), knuckles + np.array([0, 12])]
  _limb(sprite, palm, 0.15, colour)
  base = wrist + np.array([thumb_side * 0.1, -0.06]) * _CANVAS
  joint = base + np.array([thumb_side * 0.1, -0.09]) * _CANVAS
  tip = joint + np.array([thumb_side * 0.03, -0.12]) * _CANVAS
  _limb(sprite, [base, joint, tip], 0.045, colour)
  return sprite


def _limb(
  sprite: np.ndarray,
  points: list[np.ndarray],
  radius: float,
  colour: np.ndarray,
) -> None:
  """Paints a rounded limb over the sprite, darker towards its edges."""
  shape = np.zeros(sprite.shape[:2], np.uint8)
  line = np.round(np.stack(points)).astype(np.int32)
  width = max(1, round(2 * radius * _CANVAS))
  cv2.polylines(shape, [line], False, 255, width, cv2.LINE_AA)
  depth = cv2.distanceTransform(
    (shape > 127).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
  )
  roundness = np.sqrt(np.clip(depth / (radius * _CANVAS), 0, 1))
  alpha = shape[..., None].astype(np.float32) / 255
  shaded = (0.62 + 0.38 * roundness[..., None]) * colour
  sprite[..., :3] = sprite[..., :3] * (1 - alpha) + shaded * alpha
  sprite[..., 3:] = sprite[..., 3:] * (1 - alpha) + alpha
