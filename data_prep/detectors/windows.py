"""Square windows of a frame, turned so that a head in them is upright."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Window:
  """A square, which may reach beyond the frame.

  Attributes:
    left, top: its corner, in pixels of the frame.
    side: in pixels.
    turns: quarter turns, counterclockwise, that make the head upright.
  """

  left: int
  top: int
  side: int
  turns: int = 0

  @classmethod
  def around(cls, box: np.ndarray, factor: float, turns: int = 0) -> "Window":
    """The window with the same middle as a box.

    Args:
      box: (4,) left, top, right, bottom, in pixels.
      factor: the window's side over the box's larger side.
      turns: see above.

    Example:
      >>> Window.around(np.array([10.0, 10.0, 20.0, 30.0]), 2)
      Window(left=-5, top=0, side=40, turns=0)
    """
    sides = box[2:] - box[:2]
    side = max(round(factor * float(sides.max())), 8)
    left, top = np.round((box[:2] + box[2:] - side) / 2).astype(int).tolist()
    return cls(left=left, top=top, side=side, turns=turns % 4)

  def cut(self, image: np.ndarray) -> np.ndarray:
    """Returns (side, side, 3) uint8; beyond the frame its border repeats."""
    height, width = image.shape[:2]
    right, bottom = self.left + self.side, self.top + self.side
    above, below = max(-self.top, 0), max(bottom - height, 0)
    before, after = max(-self.left, 0), max(right - width, 0)
    x = min(max(self.left, 0), width - 1), max(min(right, width), 1)
    y = min(max(self.top, 0), height - 1), max(min(bottom, height), 1)
    inside = image[y[0] : y[1], x[0] : x[1]]
    if above or below or before or after:
      inside = cv2.copyMakeBorder(
        inside, above, below, before, after, cv2.BORDER_REPLICATE
      )[: self.side, : self.side]
    return np.rot90(inside, self.turns)

  def to_frame(self, points: np.ndarray) -> np.ndarray:
    """Maps (…, 2) points from the window to the frame.

    Pixel centres are at integers.

    Example:
      >>> window = Window(left=5, top=7, side=10, turns=1)
      >>> window.to_frame(np.array([0.0, 0.0])).tolist()
      [14.0, 7.0]
    """
    x, y = points[..., 0], points[..., 1]
    last = self.side - 1
    if self.turns == 1:
      x, y = last - y, x
    elif self.turns == 2:
      x, y = last - x, last - y
    elif self.turns == 3:
      x, y = y, last - x
    return np.stack([x + self.left, y + self.top], axis=-1)

  def box_to_frame(self, box: np.ndarray) -> np.ndarray:
    """Maps a box, (4,) left, top, right, bottom, from the window to the frame.

    A box is made of edges, which lie half a pixel beside pixel centres.
    """
    corners = self.to_frame(box.reshape(2, 2) - 0.5) + 0.5
    return np.concatenate([corners.min(0), corners.max(0)])


def turns_of(roll: float) -> int:
  """Returns the quarter turns, counterclockwise, that make a head upright.

  Args:
    roll: of the head, in radians; positive: clockwise.

  Example:
    >>> turns_of(0.1), turns_of(np.pi / 2), turns_of(-np.pi / 2)
    (0, 1, 3)
  """
  return round(roll / (np.pi / 2)) % 4
