"""Paints blotches behind a person, so that a detector learns hands by shape.

Training videos show few rooms. A detector that has seen only these takes
anything of skin's colour, such as a country on a map, for a hand.
"""

import cv2
import numpy as np

_SKIN = np.array([200.0, 150.0, 125.0])  # RGB, made darker by a factor
_HEAD = 1.5  # size of the region that stays free, over the face's box


def clutter(
  image: np.ndarray, face: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Covers all but the head with patches of few colours, half of them skin's.

  Args:
    image: (h, w, 3) uint8.
    face: (4,) left, top, right, bottom, in pixels.
    rng: decides sizes, colours and how much shows through.

  Returns:
    The changed picture, (h, w, 3) uint8.

  Example:
    >>> image = np.zeros((64, 64, 3), np.uint8)
    >>> face = np.array([24.0, 24.0, 40.0, 40.0])
    >>> changed = clutter(image, face, np.random.default_rng(0))
    >>> changed[32, 32].tolist(), bool(changed.any())
    ([0, 0, 0], True)
  """
  height, width = image.shape[:2]
  count = int(rng.integers(3, 9))
  colours = rng.uniform(10, 245, (count, 3))
  skins = rng.uniform(0.3, 1.2, (count, 1)) * _SKIN
  skins = skins + rng.normal(0, 12, (count, 3))
  colours = np.where(rng.random((count, 1)) < 0.5, skins, colours)
  # Each region lies where one of several smooth random fields is the largest.
  cells = rng.integers(3, 14)
  fields = rng.normal(size=(count, cells, cells)).astype(np.float32)
  smooth = [
    cv2.resize(f, (width, height), interpolation=cv2.INTER_CUBIC)
    for f in fields
  ]
  patches = np.clip(colours, 0, 255)[np.argmax(smooth, axis=0)]
  grain = rng.normal(0, rng.uniform(1, 8), (height, width, 1))
  opacity = rng.uniform(0.5, 1.0) * _outside(image.shape[:2], face)[..., None]
  mixed = image + opacity * (patches + grain - image)
  return np.clip(mixed, 0, 255).round().astype(np.uint8)


def _outside(shape: tuple[int, int], face: np.ndarray) -> np.ndarray:
  """Returns (h, w) weights: 1 beyond the head, 0 on it, a soft border."""
  head = np.zeros(shape, np.float32)
  centre = (face[:2] + face[2:]) / 2
  axes = _HEAD * (face[2:] - face[:2]) / 2
  cv2.ellipse(
    head,
    tuple(centre.round().astype(int).tolist()),
    tuple(axes.round().astype(int).tolist()),
    *(0, 0, 360, 1.0, -1),
  )
  return 1 - cv2.GaussianBlur(head, (0, 0), max(0.05 * float(axes[0]), 0.3))
