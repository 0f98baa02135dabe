"""Arms for cut-outs of hands: bare, or in a sleeve."""

import cv2
import numpy as np

_FOREARM = 2.2  # drawn length of the arm, in hand lengths
_BLEND = 0.08  # of a hand: where hand and arm become one


def wrist_of(rgba: np.ndarray) -> tuple[int, int] | None:
  """First and last column of the hand in the lowest row."""
  rows = np.flatnonzero((rgba[..., 3] > 0.5).sum(1) >= 0.12 * rgba.shape[1])
  # Some are cut a little above the border.
  if not len(rows) or rows[-1] < 0.9 * len(rgba):
    return None
  row = rgba[max(rows[-1] - 2, 0), :, 3] > 0.5
  edges = np.flatnonzero(np.diff(np.r_[0, row, 0]))
  runs = edges.reshape(-1, 2)
  if not len(runs):
    return None
  first, end = runs[np.argmax(runs[:, 1] - runs[:, 0])]
  return int(first), int(end - 1)


def with_forearm(
  rgba: np.ndarray,
  palm: np.ndarray,
  unit: float,
  rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
  """Adds an arm below the wrist; returns picture and palm in it.

  Args:
    rgba: (h, w, 4) the hand.
    palm: (2,) its middle.
    unit: pixels of a stretched hand.
    rng: decides on skin and sleeve.
  """
  height, width = rgba.shape[:2]
  length, blend = round(_FOREARM * unit), max(5, round(_BLEND * unit))
  wrist = wrist_of(rgba) or (width // 3, 2 * width // 3)
  centre, half, slope = _arm_axis(rgba, wrist)
  narrow = half < 0.11 * unit
  half = max(half, 0.11 * unit)
  end = centre + slope * length
  broad = half * 3.2
  left = int(max(0, np.ceil(broad - min(centre, end))))
  right = int(max(0, np.ceil(max(centre, end) + broad - width)))
  size = (height + length, left + width + right)
  hand = np.zeros((*size, 4), np.float32)
  hand[:height, left : left + width] = rgba
  centre += left
  y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
  along = (y - (height - 1)) / unit
  axis = centre + slope * (y - (height - 1))
  growth = rng.uniform(0.2, 0.5)
  swell = np.clip(along, -0.1, None)
  arm_half = half * (1 + growth * (1 - np.exp(-1.6 * swell)) + 0.12 * swell)
  light = float(rgba[rgba[..., 3] > 0.9][:, :3].mean())
  rows = rgba[-blend:-1, wrist[0] : wrist[1] + 1, :3]
  arm = _bare_arm(rows, (x - axis) / arm_half, along, unit, light, rng)
  arm[..., 3] = np.clip(arm_half - np.abs(x - axis) + 0.5, 0, 1)
  arm[..., 3] *= y > height - blend
  # The hand's lowest rows turn into the arm.
  share = np.clip((height - 2 - y) / blend, 0, 1)[..., None]
  mixed = _over(hand, arm)
  inside = (y > height - blend)[..., None]
  blended = share * mixed + (1 - share) * arm
  rgba = np.where(inside, blended, hand)
  if rng.random() < 0.65 or narrow:
    start = 0.03 if narrow else rng.uniform(0.05, 0.9) ** 1.3
    sleeve = _sleeve((x - axis) / arm_half, arm_half, along - start, unit, rng)
    # Its rim throws a little shadow on the arm.
    near = np.exp(-np.clip(start - along, 0, None) / 0.04) * (along < start)
    rgba[..., :3] *= 1 - 0.4 * near[..., None]
    rgba = _over(sleeve, rgba)
  return rgba, palm + np.array([left, 0])


def _arm_axis(
  rgba: np.ndarray, wrist: tuple[int, int]
) -> tuple[float, float, float]:
  """Middle and half width of the wrist, and sideways steps per row."""
  height = len(rgba)
  rows = range(height - max(8, height // 8), height - 2)
  middles, widths = [], []
  first, last = wrist
  for row in reversed(rows):
    solid = np.flatnonzero(rgba[row, :, 3] > 0.5)
    solid = solid[(solid >= first - 6) & (solid <= last + 6)]
    if len(solid):
      middles.append((row, solid.mean()))
      widths.append(np.ptp(solid) + 1)
  centre, half = (first + last) / 2, (last - first + 1) / 2
  if len(middles) < 4:
    return centre, half, 0.0
  row, middle = np.array(middles).T
  slope = float(np.clip(0.6 * np.polyfit(row, middle, 1)[0], -0.2, 0.2))
  return centre, min(half, float(np.median(widths)) / 2 + 1), slope


def _bare_arm(
  rows: np.ndarray,
  across: np.ndarray,
  along: np.ndarray,
  unit: float,
  light: float,
  rng: np.random.Generator,
) -> np.ndarray:
  """(h, w, 4): the wrist's colours, carried down the arm."""
  strip = cv2.resize(rows.mean(0)[None], (32, 1), interpolation=cv2.INTER_AREA)
  # Wrists lie in the shadow of their hand; the arm does not.
  strip *= np.clip(0.88 * light / max(float(strip.mean()), 1e-3), 1, 1.6)
  strip = cv2.GaussianBlur(strip, (9, 1), 2.0, borderType=cv2.BORDER_REPLICATE)
  place = np.clip((across + 1) / 2 * 31, 0, 31).astype(np.float32)
  colour = cv2.remap(strip, place, np.zeros_like(place), cv2.INTER_LINEAR)
  # Round: darker towards the sides, where little of it is to be seen already.
  shade = 1 - 0.14 * np.clip(np.abs(across), 0, 1) ** 3
  shade *= 1 + 0.06 * _smooth_noise(across.shape, 0.23 * unit, rng)
  shade *= 1 + 0.03 * _smooth_noise(across.shape, 0.035 * unit, rng)
  shade *= 1 + 0.015 * _smooth_noise(across.shape, 0.7, rng)
  shade *= 1 - 0.06 * np.clip(along, 0, 1)
  alpha = np.ones(across.shape, np.float32)
  return np.dstack([np.clip(colour * shade[..., None], 0, 1), alpha])


def _sleeve(
  across: np.ndarray,
  arm_half: np.ndarray,
  along: np.ndarray,
  unit: float,
  rng: np.random.Generator,
) -> np.ndarray:
  """(h, w, 4): cloth with folds from `along` = 0 downwards."""
  wide = rng.uniform(1.12, 1.5) + rng.uniform(0, 0.35) * np.clip(along, 0, 1.5)
  wobble = 0.05 * np.sin(rng.uniform(8, 20) * along + rng.uniform(0, 6))
  across = across / (wide + wobble)
  half = arm_half * (wide + wobble)
  colour = cloth_colour(rng)
  folds = 0.5 * _smooth_noise(across.shape, 0.05 * unit, rng)
  phase = rng.uniform(14, 26) * (
    along + rng.normal(0, 0.25) * across + 0.1 * folds
  )
  shade = 1 + rng.uniform(0.05, 0.16) * np.sin(phase) * _smooth_noise(
    across.shape, 0.14 * unit, rng
  ).clip(-1, 1)
  shade *= 1 + 0.12 * folds
  shade *= 1.04 - 0.4 * np.clip(np.abs(across), 0, 1) ** 2.5
  shade *= 1 + 0.03 * _smooth_noise(across.shape, 0.8, rng)
  if rng.random() < 0.25:  # stripes
    width = rng.uniform(0.08, 0.25)
    stripe = (along if rng.random() < 0.5 else 0.4 * across) % width < width / 2
    shade *= np.where(stripe, rng.uniform(0.6, 0.9), 1)
  # The cuff: a seam, and the rim's round edge.
  depth = along - rng.uniform(-0.01, 0.05) * across * across
  seam = np.exp(-(((depth - rng.uniform(0.08, 0.2)) / 0.008) ** 2))
  shade *= 1 - 0.25 * seam * (rng.random() < 0.7)
  shade *= 1 - 0.35 * np.exp(-np.clip(depth, 0, None) / 0.012)
  alpha = np.clip((1 - np.abs(across)) * half + 0.5, 0, 1)
  alpha *= np.clip(depth * unit + 0.5, 0, 1)
  rgb = np.clip(colour * shade[..., None], 0, 1)
  return np.dstack([rgb, alpha]).astype(np.float32)


def cloth_colour(rng: np.random.Generator) -> np.ndarray:
  """(3,) RGB in [0, 1]: often dark, grey or blue, seldom gaudy."""
  kind = rng.random()
  if kind < 0.35:
    base = rng.uniform(0.05, 0.3) + np.array([0, 0, rng.uniform(0, 0.1)])
  elif kind < 0.55:
    base = np.full(3, rng.uniform(0.4, 0.9))
  elif kind < 0.75:
    base = np.array([0.15, 0.25, 0.45]) * rng.uniform(0.6, 1.6)
  else:
    base = rng.uniform(0.1, 0.85, 3)
  return np.clip(base + rng.normal(0, 0.02, 3), 0.02, 0.95)


def _smooth_noise(
  shape: tuple[int, ...], sigma: float, rng: np.random.Generator
) -> np.ndarray:
  """(h, w) float32 of unit variance."""
  step = max(1, int(sigma / 1.5))
  coarse = [max(2, -(-n // step)) for n in shape]
  noise = rng.normal(size=coarse).astype(np.float32)
  noise = cv2.GaussianBlur(noise, (0, 0), max(sigma / step, 0.3))
  noise = np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)
  return cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _over(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
  """One picture on another, both not premultiplied."""
  top, bottom = upper[..., 3:], lower[..., 3:] * (1 - upper[..., 3:])
  alpha = top + bottom
  rgb = upper[..., :3] * top + lower[..., :3] * bottom
  rgb = rgb / np.maximum(alpha, 1e-6)
  return np.concatenate([rgb, alpha], axis=-1).astype(np.float32)
