"""Things in front of a face: cloth, bottles, tubes, masks, and so on."""

import cv2
import numpy as np

from data_prep.occlusion import shapes
from data_prep.occlusion.cutouts import Cutout
from data_prep.occlusion.forearms import cloth_colour
from data_prep.occlusion.shapes import Skin

KINDS = ("cloth", "bedding", "bottle", "tube", "mask", "pacifier", "blotch")


def draw(
  kind: str, rng: np.random.Generator, skin: Skin, length: float
) -> Cutout:
  """Draws a thing about as large as a hand.

  Args:
    kind: `hand`, `box` and `strokes` as `shapes` draws them; one of `KINDS`;
      for anything else, one of `KINDS` by chance.
    rng: decides form and colour.
    skin: of the person.
    length: of a hand, in pixels.
  """
  side = round(min(max(length, 48), 256))
  if kind == "hand":
    image = shapes.hand(rng, skin, side)(0.0)
    return Cutout(
      image=image, anchor=np.array([side, side]) / 2, length=0.85 * side
    )
  if kind in ("box", "strokes"):
    image = getattr(shapes, kind)(rng, side)(0.0)
    return Cutout(image=image, anchor=np.array([side, side]) / 2, length=side)
  if kind not in _DRAWN:
    kind = KINDS[int(rng.integers(len(KINDS)))]
  return _DRAWN[kind](rng, side)


def _cloth(rng: np.random.Generator, side: int) -> Cutout:
  """A folded towel with a wavy rim."""
  u, v = _grid(side, side)
  # Between a disc and a square.
  round_, square = np.hypot(u, v), np.maximum(np.abs(u), np.abs(v))
  share = rng.uniform(0.0, 0.9)
  distance = share * square + (1 - share) * round_
  rim = 0.72 + _rim(rng, np.arctan2(v, u), (0.09, 0.05, 0.04))
  alpha = _edge(rim - distance, side)
  folds = _noise(rng, side, 0.16)
  phase = rng.uniform(6, 14) * (u * rng.normal() + v * rng.normal()) + 2 * folds
  shade = 0.9 + 0.16 * np.sin(phase) + 0.1 * folds
  shade += 0.04 * _noise(rng, side, 0.01)
  return _finished(cloth_colour(rng), shade, alpha, side)


def _bedding(rng: np.random.Generator, side: int) -> Cutout:
  """A blanket or a pillow: large, straight on one side, printed or plain."""
  height, width = side, 2 * side
  u, v = _grid(height, width)
  u = 2 * u
  rim = rng.uniform(0.02, 0.12) * np.sin(
    rng.uniform(1, 4) * u + rng.uniform(0, 6)
  )
  alpha = _edge(np.minimum(0.93 + rim + v, 1.9 - np.abs(u)), side)
  folds = cv2.resize(_noise(rng, side, 0.2), (width, height))
  phase = rng.uniform(2, 7) * (u * rng.normal() + v * rng.normal()) + 2 * folds
  shade = 0.92 + 0.1 * np.sin(phase) + 0.06 * folds
  colour = np.broadcast_to(cloth_colour(rng), (height, width, 3)).copy()
  print_ = str(rng.choice(["plain", "stripes", "dots", "checks"]))
  step = rng.uniform(0.12, 0.4)
  bent = u + 0.04 * folds, v + 0.04 * folds
  if print_ == "stripes":
    colour[np.sin(2 * np.pi * bent[0] / step) > 0.2] = rng.uniform(0.1, 1, 3)
  elif print_ == "dots":
    near = np.sin(np.pi * bent[0] / step) * np.sin(np.pi * bent[1] / step)
    colour[np.abs(near) > 0.75] = rng.uniform(0.1, 1, 3)
  elif print_ == "checks":
    near = np.sin(np.pi * bent[0] / step) * np.sin(np.pi * bent[1] / step)
    colour[near > 0] = rng.uniform(0.1, 1, 3)
  cutout = _finished(colour, shade, alpha, side)
  return Cutout(image=cutout.image, anchor=cutout.anchor, length=side)


def _pacifier(rng: np.random.Generator, side: int) -> Cutout:
  """A shield with a knob, and perhaps a ring, as large as a mouth."""
  side = max(32, side // 2)
  u, v = _grid(side, side)
  shield = 0.85 - np.hypot(u, rng.uniform(1.1, 1.7) * v)
  alpha = _edge(shield, side)
  colour = np.broadcast_to(rng.uniform(0.15, 1.0, 3), (side, side, 3)).copy()
  knob = np.hypot(u, v)
  colour[knob < rng.uniform(0.25, 0.4)] = rng.uniform(0.15, 1.0, 3)
  ring = np.abs(np.hypot(u, v - 0.3) - rng.uniform(0.35, 0.5)) < 0.07
  if rng.random() < 0.6:
    colour[ring] = rng.uniform(0.3, 1.0, 3)
  shade = (
    1.0
    - 0.25 * knob
    + 0.35
    * np.exp(-((u + rng.uniform(-0.3, 0.3)) ** 2 + (v + 0.2) ** 2) / 0.02)
  )
  return _finished(colour, shade, alpha, 2 * side)


def _bottle(rng: np.random.Generator, side: int) -> Cutout:
  """A bottle or a cup, upright, with a label and a gleam."""
  u, v = _grid(side, side)
  body, neck = rng.uniform(0.22, 0.4), rng.uniform(0.08, 0.2)
  shoulder = rng.uniform(-0.6, 0.0)
  rise = np.clip((v - shoulder) / 0.25, 0, 1)
  half = neck + (body - neck) * rise * rise * (3 - 2 * rise)
  alpha = _edge(np.minimum(half - np.abs(u), 0.95 - np.abs(v)), side)
  across = u / np.maximum(half, 0.05)
  shade = 1.05 - 0.55 * across**2
  shade += 0.5 * np.exp(-(((across + rng.uniform(-0.5, 0.5)) / 0.12) ** 2))
  colour = np.broadcast_to(cloth_colour(rng), (side, side, 3)).copy()
  top = rng.uniform(0.0, 0.3)
  label = (v > top) & (v < top + rng.uniform(0.25, 0.5))
  colour[label] = rng.uniform(0.3, 0.95, 3)
  return _finished(colour, shade, alpha, side)


def _tube(rng: np.random.Generator, side: int) -> Cutout:
  """A long thin thing: a pen, a cable, a microphone's stand."""
  width, height = max(8, side // 3), 2 * side
  u, v = _grid(height, width)
  half = rng.uniform(0.15, 0.7)
  across = (u - 0.3 * np.sin(rng.uniform(0, 3) * v + rng.uniform(0, 6))) / half
  alpha = _edge((1 - np.abs(across)) * half, width)
  alpha *= v > rng.uniform(-0.95, -0.6)
  shade = 1.0 - 0.6 * across**2
  colour = np.broadcast_to(cloth_colour(rng), (height, width, 3))
  cutout = _finished(colour, shade, alpha, side)
  return Cutout(
    image=cutout.image, anchor=np.array([width, side]) / 2, length=side
  )


def _mask(rng: np.random.Generator, side: int) -> Cutout:
  """A mask over mouth and nose, with pleats."""
  u, v = _grid(side, side)
  outline = 0.9 - np.maximum(np.abs(u) ** 2.5, np.abs(1.5 * v) ** 3)
  outline -= 0.25 * np.clip(-v, 0, 1) * np.abs(u)
  alpha = _edge(0.5 * outline, side)
  shade = 1.0 - 0.3 * u**2 - 0.07 * (np.cos(v * rng.uniform(14, 22)) > 0.8)
  colour = np.array([[0.65, 0.8, 0.9], [0.95, 0.95, 0.95], [0.12, 0.12, 0.13]])
  return _finished(colour[int(rng.integers(3))], shade, alpha, side)


def _blotch(rng: np.random.Generator, side: int) -> Cutout:
  """A patch of one colour with a smooth rim."""
  u, v = _grid(side, side)
  radius = 0.6 + _rim(rng, np.arctan2(v, u), (0.16, 0.1, 0.06, 0.04))
  alpha = _edge(radius - np.hypot(u, v), side)
  shade = 1 + 0.12 * _noise(rng, side, 0.1) + 0.04 * _noise(rng, side, 0.01)
  return _finished(rng.uniform(0.05, 0.95, 3), shade, alpha, side)


_DRAWN = {
  "cloth": _cloth,
  "bedding": _bedding,
  "bottle": _bottle,
  "tube": _tube,
  "mask": _mask,
  "pacifier": _pacifier,
  "blotch": _blotch,
}


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Both coordinates, in [−1, 1]: x and y."""
  u, v = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
  return u, v


def _rim(
  rng: np.random.Generator, angle: np.ndarray, sizes: tuple[float, ...]
) -> np.ndarray:
  return sum(
    (
      size * np.sin((k + 2) * angle + rng.uniform(0, 2 * np.pi))
      for k, size in enumerate(sizes)
    ),
    np.zeros_like(angle),
  )


def _edge(inside: np.ndarray, side: int) -> np.ndarray:
  """Opacity of what is `inside` the outline, in half sides."""
  return np.clip(inside * side / 2 + 0.5, 0, 1)


def _noise(rng: np.random.Generator, side: int, grain: float) -> np.ndarray:
  """(side, side) of unit variance; `grain` in sides."""
  noise = rng.normal(size=(side, side)).astype(np.float32)
  noise = cv2.GaussianBlur(noise, (0, 0), max(0.4, grain * side))
  return noise / max(float(noise.std()), 1e-6)


def _finished(
  colour: np.ndarray, shade: np.ndarray, alpha: np.ndarray, length: float
) -> Cutout:
  height, width = alpha.shape
  rgb = np.clip(colour * shade[..., None], 0, 1) * alpha[..., None]
  image = np.dstack([rgb, alpha])
  return Cutout(
    image=np.clip(255 * image + 0.5, 0, 255).astype(np.uint8),
    anchor=np.array([width - 1, height - 1]) / 2,
    length=float(length),
  )
