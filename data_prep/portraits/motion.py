"""How a filmed person moves: the curves that drive a portrait's clip.

People hold a pose, turn to another, nod, look about, blink every few seconds
and talk in phrases; some hardly move, some are quick.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.portraits.mesh import LOCKS, MOVES


@dataclass(frozen=True, kw_only=True)
class Motion:
  """One value per frame of everything that moves.

  Attributes:
    turn: (f, 3) yaw, pitch, roll against the still, in radians; yaw turns to
      the image's right, pitch looks down, roll leans to the image's right.
    shift: (f, 2) of the head, in face sides.
    nearer: (f,) scale of the head.
    body: (f, 2) shift of the shoulders, in face sides.
    loose: (f, LOCKS, 2) shift of locks of hair, earrings and collars against
      the head, in face sides.
    camera: (f, 3) shift in face sides, and zoom.
    moves: (f, len(MOVES)) strength of each expression.
    gaze: (f, 2) shift of the irises, in eye widths.
  """

  turn: np.ndarray
  shift: np.ndarray
  nearer: np.ndarray
  body: np.ndarray
  loose: np.ndarray
  camera: np.ndarray
  moves: np.ndarray
  gaze: np.ndarray


def draw_motion(
  rng: np.random.Generator,
  frames: int,
  fps: float,
  *,
  still_turn: tuple[float, float] = (0.0, 0.0),
  openness: float = 0.0,
) -> Motion:
  """Draws the curves of a clip.

  Args:
    rng: decides everything.
    frames: length.
    fps: frames per second.
    still_turn: yaw and pitch of the still, in radians; heads do not turn far
      beyond what the still shows.
    openness: of the still's mouth, height over width.
  """
  # Half of the people are calm, some hardly move, a few are quick.
  energy = float(
    rng.choice(
      [0.02, 0.1, 0.35, 0.7, 1.0, 1.6], p=[0.1, 0.1, 0.15, 0.27, 0.25, 0.13]
    )
  )
  time = np.arange(frames) / fps
  poses = _poses(rng, time, energy, width=3)
  turn = poses * [0.2, 0.1, 0.075] + _gestures(rng, time, energy)
  turn += _noise(rng, time, 1.5, 3) * [0.012, 0.01, 0.008] * energy
  limits = np.array([0.42, 0.22, 0.28])
  turn = limits * np.tanh(turn / limits)
  yaw, pitch = still_turn
  # Far sides that the still does not show cannot be turned to the camera.
  shown = np.clip(0.42 - 0.75 * abs(yaw), 0.02, 0.42)
  further = np.clip(0.5 - abs(yaw), 0.03, 0.42)
  low, high = (shown, further) if yaw > 0 else (further, shown)
  turn[:, 0] = np.clip(turn[:, 0], -low, high)
  turn[:, 1] = np.clip(
    turn[:, 1], min(-0.35 - pitch, -0.03), max(0.35 - pitch, 0.03)
  )
  sway = _noise(rng, time, 0.35, 2) * [0.035, 0.015] * energy
  lean = _poses(rng, time, energy, width=2) * [0.045, 0.025]
  # A turning head also moves a little to that side.
  shift = sway + lean + turn[:, :2] * [0.06, 0.1]
  nearer = np.exp(0.02 * energy * _noise(rng, time, 0.3, 1)[:, 0])
  return Motion(
    turn=turn,
    shift=shift,
    nearer=nearer,
    body=0.45 * (sway + lean) + 0.006 * energy * _noise(rng, time, 0.5, 2),
    loose=_loose(rng, time, energy, shift),
    camera=_camera(rng, time),
    moves=_expressions(rng, time, openness, calm=energy < 0.05),
    gaze=_gaze(rng, time),
  )


def _poses(
  rng: np.random.Generator, time: np.ndarray, energy: float, width: int
) -> np.ndarray:
  """(f, width): held poses of unit variance, and smooth ways between them."""
  values = np.zeros((len(time), width))
  pose, start = rng.normal(size=width), -rng.uniform(0, 1.0)
  # The first pose is near the still in half of the clips.
  pose *= rng.choice([0.3, 1.0])
  while start < time[-1]:
    hold = rng.exponential(0.6 / energy)
    move = rng.uniform(0.3, 0.9) / np.sqrt(energy)
    if rng.random() < 0.15 * energy:
      move *= 0.45
    following = rng.normal(size=width)
    # Half of the ways are short ones.
    following = pose + rng.choice([0.35, 1.0]) * (following - pose)
    share = np.clip((time - start - hold) / move, 0, 1)
    share = share**3 * (10 - 15 * share + 6 * share**2)  # least jerk
    inside = time >= start
    values[inside] = (pose + share[:, None] * (following - pose))[inside]
    pose, start = following, start + hold + move
  return values


def _gestures(
  rng: np.random.Generator, time: np.ndarray, energy: float
) -> np.ndarray:
  """(f, 3): nods and shakes of the head, in radians."""
  turn = np.zeros((len(time), 3))
  start = rng.exponential(2.5 / energy) - 0.5
  while start < time[-1]:
    length = rng.uniform(0.5, 1.4)
    share = np.clip((time - start) / length, 0, 1)
    window = np.sin(np.pi * share) ** 2
    wave = np.sin(2 * np.pi * rng.uniform(1.2, 2.6) * (time - start))
    axis, size = (1, 0.07) if rng.random() < 0.65 else (0, 0.1)
    turn[:, axis] += rng.uniform(0.4, 1.2) * size * window * wave
    start += length + rng.exponential(3.0 / energy)
  return turn


def _loose(
  rng: np.random.Generator, time: np.ndarray, energy: float, shift: np.ndarray
) -> np.ndarray:
  """(f, LOCKS, 2): what hangs on a head lags behind it, and swings."""
  size = rng.choice([0.0, 0.004, 0.012, 0.025], LOCKS, p=[0.4, 0.3, 0.2, 0.1])
  swing = _noise(rng, time, 1.2, 2 * LOCKS).reshape(-1, LOCKS, 2)
  swing *= size[:, None] * min(energy, 1.0)
  speed = np.gradient(shift, time, axis=0) if len(time) > 1 else 0 * shift
  lag = rng.uniform(0, 0.12, LOCKS) * (size > 0)  # seconds
  return swing - np.clip(lag[:, None] * speed[:, None], -0.05, 0.05)


def _expressions(
  rng: np.random.Generator, time: np.ndarray, openness: float, *, calm: bool
) -> np.ndarray:
  moves = np.zeros((len(time), len(MOVES)))

  def add(name: str, values: np.ndarray | float) -> None:
    moves[:, MOVES.index(name)] += values

  syllables = _noise(rng, time, 4.5, 1)[:, 0]
  slow = _noise(rng, time, 0.4, 6)
  talks = rng.random() < 0.7
  # Some people hardly move their faces, some make faces.
  lively = float(rng.choice([0.25, 0.6, 1.0, 1.6], p=[0.12, 0.25, 0.4, 0.23]))
  phrase = _phrases(rng, time) if talks else np.zeros(len(time))
  loud = lively * rng.uniform(0.5, 1.2)
  jaw = phrase * loud * np.clip(0.055 + 0.055 * syllables, 0, 0.18)
  if rng.random() < 0.25:  # a gape, a laugh, or a yawn
    jaw += rng.uniform(0.08, 0.2) * _bump(rng, time, 0.3, 1.2)
  add("jaw", jaw)
  if openness > 0.06:
    # A smile that shows teeth: they are hidden now and then, and in speech.
    closed = _smooth_step(slow[:, 0] * 1.2 + rng.normal(0, 0.8))
    in_speech = np.clip(0.55 - 0.35 * _noise(rng, time, 3.5, 1)[:, 0], 0, 1)
    amount = (1 - phrase) * closed + phrase * in_speech
    add("close", np.clip(amount, 0, 1))
    add("smile", -0.7 * _smooth_step(slow[:, 1] * 1.2 + rng.normal()))
  else:
    smiles = _smooth_step(2.0 * slow[:, 1] + rng.normal(-0.5, 1))
    add("smile", rng.uniform(0.4, 1.1) * smiles)
  shapes = _noise(rng, time, 2.5, 2)
  add("narrow", np.clip(0.5 * lively * phrase * shapes[:, 0], -0.4, 1.1))
  add("lip_up", np.clip(0.5 * lively * phrase * shapes[:, 1], -0.1, 0.9))
  if rng.random() < 0.2:  # lips pressed, pouted
    add("narrow", rng.uniform(0.5, 1.2) * _bump(rng, time, 0.4, 1.5))
  brows = (
    lively * rng.uniform(0.2, 0.6) * (slow[:, 2] + phrase * shapes[:, 0] * 0.5)
  )
  add("brow_up", np.clip(brows, -0.25, 1))
  add("frown", np.clip(lively * (0.7 * slow[:, 3] - 0.3), 0, 1.2))
  if calm:  # somebody who sits still, and listens
    moves *= rng.uniform(0, 0.3)
  lids = _blinks(rng, time)
  add("squint", np.clip(0.4 * slow[:, 4], 0, 0.8))
  droop = np.clip(0.12 * slow[:, 5], -0.1, 0.3)
  both = np.clip(lids + (1 - lids) * droop, -0.1, 1)
  add("blink_right", both)
  add("blink_left", both)
  if rng.random() < 0.08:
    side = str(rng.choice(["blink_right", "blink_left"]))
    add(side, _bump(rng, time, 0.25, 0.6))
  blinks = [MOVES.index("blink_right"), MOVES.index("blink_left")]
  moves[:, blinks] = np.clip(moves[:, blinks], -0.1, 1)
  # A raised lower lid must not meet a closed upper one from below.
  moves[:, MOVES.index("squint")] *= 1 - moves[:, blinks].max(1).clip(0, 1)
  return moves


def _phrases(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
  """(f,): 1 within a phrase, 0 in a pause, with soft ends."""
  loud = np.zeros(len(time))
  start = rng.uniform(-1.5, 1.0)
  while start < time[-1]:
    length = rng.uniform(0.5, 2.5)
    rise = np.clip((time - start) / 0.12, 0, 1)
    fall = np.clip((start + length - time) / 0.18, 0, 1)
    loud = np.maximum(loud, np.minimum(rise, fall))
    start += length + rng.exponential(0.5) + 0.15
  return loud


def _blinks(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
  """(f,): 1 with closed lids; about 100 ms down, 200 ms up."""
  lids = np.zeros(len(time))
  start = rng.exponential(1.5)
  while start < time[-1]:
    held = 0.03 if rng.random() < 0.85 else rng.uniform(0.2, 1.0)
    down = np.clip((time - start) / 0.09, 0, 1)
    up = np.clip((time - start - 0.09 - held) / 0.2, 0, 1)
    lids = np.maximum(lids, down - up)
    start += 0.5 + held + rng.exponential(2.2)
  return lids


def _gaze(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
  """(f, 2): quick jumps, and rests."""
  gaze = np.zeros((len(time), 2))
  start, at = 0.0, rng.normal(0, 0.3, 2)
  spread = rng.uniform(0.2, 1.0) * np.array([0.09, 0.03])
  while start < time[-1]:
    following = rng.normal(size=2)
    share = np.clip((time - start) / 0.05, 0, 1)[:, None]
    later = time >= start
    gaze[later] = (spread * (at + share * (following - at)))[later]
    at, start = following, start + 0.2 + rng.exponential(0.7)
  return np.clip(gaze, [-0.16, -0.05], [0.16, 0.05])


def _camera(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
  """(f, 3): a stand, a hand, or a slow move."""
  kind = rng.random()
  if kind < 0.45:
    return np.tile([0.0, 0.0, 1.0], (len(time), 1))
  size = rng.uniform(0.3, 1.0)
  drift = size * 0.02 * _noise(rng, time, 0.4, 2)
  shake = size * 0.003 * _noise(rng, time, 4.0, 2)
  zoom = np.exp(size * 0.012 * _noise(rng, time, 0.3, 1))
  if kind > 0.85:
    share = (time / max(time[-1], 1e-6))[:, None] - 0.5
    drift = drift + share * rng.normal(0, 0.08, 2)
    zoom = zoom * np.exp(share * rng.normal(0, 0.1))
  return np.concatenate([drift + shake, zoom], axis=1)


def _bump(
  rng: np.random.Generator, time: np.ndarray, low: float, high: float
) -> np.ndarray:
  """(f,): rises to 1 and falls once, lasting `low` to `high` seconds."""
  length = rng.uniform(low, high)
  start = rng.uniform(0, max(time[-1] - length, 0) + 1e-6)
  share = np.clip((time - start) / length, 0, 1)
  return np.sin(np.pi * share) ** 2


def _noise(
  rng: np.random.Generator, time: np.ndarray, rate: float, width: int
) -> np.ndarray:
  """(f, width): smooth noise of unit variance, mostly below `rate` hertz."""
  waves = 12
  rates = rate * np.abs(rng.normal(0, 0.6, (waves, width)))
  phases = rng.uniform(0, 2 * np.pi, (waves, width))
  angle = 2 * np.pi * rates * time[:, None, None] + phases
  return np.sqrt(2 / waves) * np.sin(angle).sum(1)


def _smooth_step(values: np.ndarray) -> np.ndarray:
  """0 below −1, 1 above 1."""
  share = np.clip((values + 1) / 2, 0, 1)
  return share * share * (3 - 2 * share)
