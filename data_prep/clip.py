"""A clip and its frames, wherever they come from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Frame:
  """One frame of a clip.

  Attributes:
    image: (h, w, 3) uint8, upright.
    index: number of the frame, from 0.
    time: exact time of presentation, in seconds.
  """

  image: np.ndarray
  index: int
  time: Fraction


@dataclass(frozen=True, kw_only=True)
class Clip:
  """A clip, which can be read more than once unless it comes from a stream.

  Attributes:
    video_id: name that is unique in an export.
    path: path of the file, or name of the drawn clip.
    digest: SHA-256 of what the clip is read from; empty if it is no file.
    fps: exact average of frames per second.
    frames: starts to read the clip.
    still: whether all frames are one image, so that what is pasted stays.
  """

  video_id: str
  path: str
  digest: str
  fps: Fraction
  frames: Callable[[], Iterator[Frame]]
  still: bool = False
