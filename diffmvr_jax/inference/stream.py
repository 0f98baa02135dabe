"""Restores a stream of frames, of any length, in bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffmvr_jax.data.codec import FrameRecord
from diffmvr_jax.data.windows import stack_frames
from diffmvr_jax.inference.paste import paste
from diffmvr_jax.inference.restorer import CropRestorer


@dataclass(frozen=True)
class SourceFrame:
  """A frame as filmed.

  Attributes:
    image: (h, w, 3) uint8.
    pts: presentation timestamp, in units of the source.
    record: what was prepared of it; None where there is no face.
  """

  image: np.ndarray
  pts: int
  record: FrameRecord | None

  @property
  def occluded(self) -> bool:
    """Whether there is something to restore."""
    return self.record is not None and bool(self.record.mask.any())


@dataclass(frozen=True)
class RestoredFrame:
  """What becomes of a frame.

  Attributes:
    source: the frame.
    image: (h, w, 3) uint8; the source's own array if nothing was restored.
  """

  source: SourceFrame
  image: np.ndarray


@dataclass
class _Waiting:
  number: int
  frame: SourceFrame
  past: np.ndarray | None = None
  crop: np.ndarray | None = None


def restore_stream(
  restorer: CropRestorer,
  frames: Iterable[SourceFrame],
  *,
  seed: int = 0,
  latency: int = 32,
) -> Iterator[RestoredFrame]:
  """Restores frames as they come.

  Frames without occlusion cost no network. Occluded ones are restored
  `sampling.window` at a time, or fewer, when one has waited long enough. A
  frame's pixels do not depend on the window that it is in.

  Args:
    restorer: the model.
    frames: in order; a record's past frame is an earlier one of them.
    seed: the same seed gives the same pixels.
    latency: a frame comes out at the latest when so many more have come in;
      0: at once.

  Yields:
    Every frame, in order.
  """
  waiting: deque[_Waiting] = deque()
  window: list[_Waiting] = []
  bank: dict[int, np.ndarray] = {}  # crops that may be someone's past frame

  def solve() -> None:
    records: list[FrameRecord] = []
    pasts: dict[int, Any] = {}
    for item in window:
      assert item.frame.record is not None
      records.append(item.frame.record)
      pasts[item.frame.record.past_index] = item.past
    clip = stack_frames(records, lambda record: pasts[record.past_index])
    numbers = np.array([record.frame_index for record in records])
    crops = restorer.restore(clip, numbers, seed)
    for item, crop in zip(window, crops, strict=True):
      item.crop = crop
    window.clear()

  for number, frame in enumerate(frames):
    past = None
    if frame.record is not None:
      index = frame.record.past_index
      past = bank.get(index)
      # The past frame never goes back, so what is older is not needed.
      bank = {i: image for i, image in bank.items() if i == index}
      bank[frame.record.frame_index] = frame.record.image
    waiting.append(_Waiting(number, frame, past))
    if frame.occluded:
      window.append(waiting[-1])
    full = len(window) == restorer.config.sampling.window
    if full or (window and number - window[0].number >= latency):
      solve()
    yield from _ready(waiting)
  if window:
    solve()
  yield from _ready(waiting)


def _ready(waiting: deque[_Waiting]) -> Iterator[RestoredFrame]:
  while waiting:
    frame, crop = waiting[0].frame, waiting[0].crop
    if frame.occluded and crop is None:
      return
    waiting.popleft()
    image = frame.image
    if crop is not None and frame.record is not None:
      record = frame.record
      image = paste(image, crop, record.mask, record.crop_transform)
    yield RestoredFrame(frame, image)
