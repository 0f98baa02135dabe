"""Drawn faces: clips whose landmarks and unoccluded truth are known exactly.

A person is a function of a seed: skin, hair, glasses or none, a mark on one
cheek. A clip adds head motion and tilt, blinking and speech. Geometry is in
units of half the face's width, y down, origin between eyes and mouth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from data_prep.faces.landmarks import COUNT

SIZE = 160  # pixels, both sides of a frame
FPS = Fraction(25)
FRAMES = 36
_SUPERSAMPLE = 2
_SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
_PARALLAX = 0.35  # how far near points move when the head turns

# (x, y, depth) of the subject's right-side landmarks and of the midline, in
# `data_prep.faces.landmarks`'s order; depth 0 is the outline, 1 the nose.
_RIGHT = np.array(
  [
    (-0.62, -0.22, 0.4),
    (-0.25, -0.2, 0.6),
    (-0.7, -0.48, 0.4),
    (-0.33, 0.66, 0.6),
    (-0.78, -0.75, 0.0),
    (-0.98, 0.05, 0.0),
    (-0.8, 0.7, 0.0),
    (-0.4, 1.12, 0.1),
  ]
)
_MIDLINE = np.array(
  [
    (0.0, -1.15, 0.2),
    (0.0, -0.22, 0.7),
    (0.0, 0.3, 1.0),
    (0.0, 0.58, 0.75),
    (0.0, 1.25, 0.2),
  ]
)
_LANDMARKS = np.concatenate([_RIGHT, _RIGHT * [-1, 1, 1], _MIDLINE])
assert len(_LANDMARKS) == COUNT


@dataclass(frozen=True, kw_only=True)
class Person:
  """What stays the same through a clip."""

  skin: np.ndarray
  hair: np.ndarray
  iris: np.ndarray
  lips: np.ndarray
  background: np.ndarray
  shirt: np.ndarray
  glasses: bool
  long_hair: bool
  mark: tuple[float, float, float]  # x, y, radius
  mark_colour: np.ndarray
  jaw: float
  eye: float
  light: float


@dataclass(frozen=True, kw_only=True)
class Pose:
  """What changes from frame to frame."""

  centre: np.ndarray
  scale: float
  roll: float
  yaw: float
  blink: float
  mouth: float


class ProceduralVideo:
  """One clip of one drawn person.

  Example:
    >>> video = ProceduralVideo(seed=7)
    >>> image, landmarks = next(video.frames())
    >>> image.shape, landmarks.shape
    ((160, 160, 3), (21, 2))
  """

  def __init__(self, seed: int):
    rng = np.random.default_rng([seed, 0xFACE])
    self._person = _draw_person(rng)
    self._phases = rng.uniform(0, 2 * np.pi, 6)
    self._speeds = rng.uniform(0.05, 0.14, 6)
    self._blink = int(rng.integers(3, 20))

  def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields each frame, (160, 160, 3) uint8, with its (21, 2) landmarks."""
    for i in range(FRAMES):
      yield _render(self._person, self._pose(i))

  def landmarks(self) -> Iterator[np.ndarray]:
    """Yields the landmarks alone, without drawing."""
    for i in range(FRAMES):
      yield _Pen(self._person, self._pose(i)).landmarks()

  def _pose(self, i: int) -> Pose:
    wave = np.sin(self._speeds * i + self._phases)
    return Pose(
      centre=SIZE * (np.array([0.5, 0.5]) + 0.035 * wave[:2]),
      scale=SIZE * 0.27 * (1 + 0.04 * wave[2]),
      roll=0.14 * wave[3],
      yaw=0.55 * wave[4],
      blink=max(0.0, 1 - abs((i - self._blink) % 24 - 2) / 2),
      mouth=max(0.0, float(np.sin(5 * self._speeds[5] * i + self._phases[5]))),
    )


def _draw_person(rng: np.random.Generator) -> Person:
  skin = np.array([224, 172, 140.0]) * rng.uniform(0.45, 1.1)
  skin = np.clip(skin + rng.normal(0, 8, 3), 30, 245)
  hair = np.array([120, 85, 55.0]) * rng.uniform(0.2, 1.5)
  side = rng.choice([-1.0, 1.0])
  return Person(
    skin=skin,
    hair=np.clip(hair + rng.normal(0, 10, 3), 10, 230),
    iris=rng.uniform(30, 150, 3),
    lips=np.clip(skin * [0.9, 0.6, 0.62] + rng.normal(0, 8, 3), 20, 240),
    background=rng.uniform(40, 220, 3),
    shirt=rng.uniform(20, 235, 3),
    glasses=bool(rng.random() < 0.4),
    long_hair=bool(rng.random() < 0.5),
    mark=(
      side * rng.uniform(0.35, 0.7),
      rng.uniform(0.1, 0.6),
      rng.uniform(0.05, 0.1),
    ),
    mark_colour=skin * rng.uniform(0.35, 0.6),
    jaw=rng.uniform(0.9, 1.06),
    eye=rng.uniform(0.85, 1.15),
    light=rng.uniform(-0.7, 0.7),
  )


class _Pen:
  """Draws face-space shapes on a supersampled canvas."""

  def __init__(self, person: Person, pose: Pose):
    self.canvas = np.empty((SIZE * _SUPERSAMPLE,) * 2 + (3,), np.uint8)
    shade = np.linspace(0.8, 1.1, len(self.canvas))[:, None, None]
    self.canvas[:] = np.clip(person.background * shade, 0, 255)
    self._person, self._pose = person, pose

  def place(self, points: np.ndarray) -> np.ndarray:
    """Maps (k, 3) points in face space to (k, 2) frame pixels."""
    pose = self._pose
    flat = points[:, :2] * [1, self._person.jaw]
    flat[:, 0] += _PARALLAX * pose.yaw * points[:, 2]
    cosine, sine = np.cos(pose.roll), np.sin(pose.roll)
    rotated = flat @ np.array([[cosine, sine], [-sine, cosine]])
    return pose.centre + pose.scale * rotated

  def landmarks(self) -> np.ndarray:
    """(21, 2) float32, in frame pixels."""
    return self.place(_LANDMARKS).astype(np.float32)

  def polygon(self, points: np.ndarray, colour: np.ndarray) -> None:
    cv2.fillPoly(
      self.canvas, [self._fixed(points)], colour.tolist(), cv2.LINE_AA, _SHIFT
    )

  def line(self, points: np.ndarray, colour: np.ndarray, width: float) -> None:
    pixels = max(1, round(width * self._pose.scale * _SUPERSAMPLE))
    cv2.polylines(
      self.canvas,
      [self._fixed(points)],
      False,
      colour.tolist(),
      pixels,
      cv2.LINE_AA,
      _SHIFT,
    )

  def ellipse(self, x, y, depth, a, b, colour: np.ndarray) -> None:
    self.polygon(ellipse(x, y, depth, a, b), colour)

  def _fixed(self, points: np.ndarray) -> np.ndarray:
    pixels = (self.place(points) + 0.5) * _SUPERSAMPLE - 0.5
    return np.round(pixels * 2**_SHIFT).astype(np.int32)


def ellipse(x, y, depth, a, b, count: int = 48) -> np.ndarray:
  """Outline of an axis-aligned ellipse in face space, (count, 3)."""
  angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
  return np.stack(
    [x + a * np.cos(angles), y + b * np.sin(angles), np.full(count, depth)], 1
  )


def _render(person: Person, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
  pen = _Pen(person, pose)
  _draw_body(pen, person)
  _draw_head(pen, person)
  for side in (-1, 1):
    _draw_eye(pen, person, pose, side)
  _draw_nose_and_mouth(pen, person, pose)
  if person.glasses:
    _draw_glasses(pen)
  image = cv2.resize(pen.canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
  return image, pen.landmarks()


def _draw_body(pen: _Pen, person: Person) -> None:
  if person.long_hair:
    pen.ellipse(0, 0.25, -0.2, 1.3, 1.75, person.hair * 0.8)
  pen.ellipse(0, 2.75, -0.3, 2.0, 1.2, person.shirt)
  neck = np.array([(-0.45, 0.8), (0.45, 0.8), (0.5, 1.9), (-0.5, 1.9)])
  pen.polygon(np.column_stack([neck, np.full(4, -0.1)]), person.skin * 0.78)


def _draw_head(pen: _Pen, person: Person) -> None:
  pen.ellipse(0, -0.35, -0.1, 1.14, 1.15, person.hair)
  for side in (-1, 1):
    pen.ellipse(side * 1.0, 0.0, -0.1, 0.14, 0.26, person.skin * 0.85)
  # Ever smaller ellipses towards the light shade the face.
  for k in range(10):
    share = k / 9
    tone = person.skin * (0.76 + 0.26 * share)
    x = person.light * 0.35 * share
    size = 1 - 0.6 * share
    pen.ellipse(x, 0.05, 0.5 * share, size, 1.2 * size, np.clip(tone, 0, 255))
  fringe = ellipse(0, -0.72, 0.15, 0.95, 0.52)
  fringe = fringe[fringe[:, 1] < -0.66]
  pen.polygon(fringe, person.hair)
  x, y, radius = person.mark
  pen.ellipse(x, y, 0.4, radius, radius * 0.9, person.mark_colour)


def _draw_eye(pen: _Pen, person: Person, pose: Pose, side: int) -> None:
  x, y, depth = side * 0.43, -0.21, 0.5
  opening = 0.13 * person.eye * (1 - 0.9 * pose.blink)
  pen.ellipse(x, y, depth, 0.21, opening, np.array([238, 236, 232.0]))
  iris = min(0.1, opening)
  gaze = x + 0.05 * pose.yaw
  pen.ellipse(gaze, y, depth, 0.09, iris, person.iris)
  pen.ellipse(gaze, y, depth, 0.045, iris * 0.5, np.array([12, 12, 14.0]))
  lid = ellipse(x, y, depth, 0.22, opening + 0.01)
  pen.line(lid[lid[:, 1] <= y + 1e-9], person.skin * 0.4, 0.035)
  brow = np.array([(0.68, -0.42), (0.45, -0.52), (0.2, -0.44)]) * [side, 1]
  pen.line(np.column_stack([brow, np.full(3, 0.5)]), person.hair * 0.7, 0.075)


def _draw_nose_and_mouth(pen: _Pen, person: Person, pose: Pose) -> None:
  ridge = np.array([(0.0, -0.15, 0.7), (0.02, 0.1, 0.9), (0.0, 0.27, 1.0)])
  pen.line(ridge, np.clip(person.skin * 1.1, 0, 255), 0.07)
  for side in (-1, 1):
    pen.ellipse(side * 0.11, 0.36, 0.85, 0.05, 0.03, person.skin * 0.45)
  pen.ellipse(0, 0.68, 0.65, 0.33, 0.09 + 0.12 * pose.mouth, person.lips)
  inside = np.array([70, 25, 30.0])
  pen.ellipse(0, 0.68, 0.65, 0.26, 0.015 + 0.11 * pose.mouth, inside)


def _draw_glasses(pen: _Pen) -> None:
  frame = np.array([30, 30, 35.0])
  for side in (-1, 1):
    rim = ellipse(side * 0.43, -0.18, 0.6, 0.31, 0.26)
    pen.line(np.concatenate([rim, rim[:1]]), frame, 0.05)
    arm = np.array([(side * 0.74, -0.2, 0.5), (side * 1.0, -0.18, 0.0)])
    pen.line(arm, frame, 0.045)
  pen.line(np.array([(-0.12, -0.2, 0.7), (0.12, -0.2, 0.7)]), frame, 0.045)
