"""Restores a stream of frames, of any length, in bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.data.windows import stack_frames
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.paste import SOFTNESS, paste, placed_map, placed_mask


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


@dataclass(frozen=True, kw_only=True)
class RestoredFrame:
  """What becomes of a frame.

  Attributes:
    source: the frame.
    image: (h, w, 3) uint8; the source's own array if nothing was restored.
    alpha: (h, w) float32 in [0, 1], how much of each pixel was replaced; None
      if nothing was.
    spread: (h, w) float32, the standard deviation of the samples where pixels
      were replaced, in levels of 0 to 255; None if there were no samples.
    past: (s, s, 3) uint8, the past frame that guided; None: there was none.
  """

  source: SourceFrame
  image: np.ndarray
  alpha: np.ndarray | None = None
  spread: np.ndarray | None = None
  past: np.ndarray | None = None


@dataclass
class _Waiting:
  number: int
  frame: SourceFrame
  past: np.ndarray | None = None
  crop: np.ndarray | None = None
  spread: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
  """How a stream is restored, beside `config.sampling`.

  Attributes:
    seed: the same seed gives the same pixels.
    latency: a frame comes out at the latest when so many more have come in;
      0: at once.
    softness: of the mask's feather, see `feather`.
    samples: with more than one, how far restorations of so many seeds, `seed`
      and the following, lie apart; what is shown is the first.
  """

  seed: int = 0
  latency: int = 32
  softness: float = SOFTNESS
  samples: int = 1


def restore_stream(
  restorer: CropRestorer,
  frames: Iterable[SourceFrame],
  options: StreamOptions | None = None,
) -> Iterator[RestoredFrame]:
  """Restores frames as they come.

  Frames without occlusion cost no network. Occluded ones are restored
  `sampling.window` at a time, or fewer, when one has waited long enough. A
  frame's pixels do not depend on the window that it is in, unless
  `sampling.start_at` lets a window begin from the one before.

  Args:
    restorer: the model.
    frames: in order; a record's past frame is an earlier one of them.
    options: None: the defaults.

  Yields:
    Every frame, in order.
  """
  options = options or StreamOptions()
  seeds = range(options.seed, options.seed + options.samples)
  waiting: deque[_Waiting] = deque()
  window: list[_Waiting] = []
  bank: dict[int, np.ndarray] = {}  # crops that may be someone's past frame
  last: dict[int, tuple[int, np.ndarray]] = {}  # by seed, the last restored

  def solve() -> None:
    records: list[FrameRecord] = []
    pasts: dict[int, Any] = {}
    for item in window:
      assert item.frame.record is not None
      records.append(item.frame.record)
      pasts[item.frame.record.past_index] = item.past
    clip = stack_frames(records, lambda record: pasts[record.past_index])
    numbers = np.array([record.frame_index for record in records])
    drawn = []
    for seed in seeds:
      before, crop = last.get(seed, (-1, None))
      follows = before == numbers[0] - 1
      crops = restorer.restore(
        clip, numbers, seed, previous=crop if follows else None
      )
      last[seed] = int(numbers[-1]), crops[-1]
      drawn.append(crops)
    spread = np.std(drawn, axis=0).mean(-1) if len(drawn) > 1 else None
    for i, item in enumerate(window):
      item.crop = drawn[0][i]
      item.spread = None if spread is None else spread[i]
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
    if full or (window and number - window[0].number >= options.latency):
      solve()
    yield from _ready(waiting, options.softness)
  if window:
    solve()
  yield from _ready(waiting, options.softness)


def _ready(
  waiting: deque[_Waiting], softness: float
) -> Iterator[RestoredFrame]:
  while waiting:
    item = waiting[0]
    frame, record = item.frame, item.frame.record
    if not frame.occluded or record is None:
      waiting.popleft()
      yield RestoredFrame(source=frame, image=frame.image, past=item.past)
      continue
    if item.crop is None:
      return
    waiting.popleft()
    shape = frame.image.shape[0], frame.image.shape[1]
    transform = record.crop_transform
    alpha = placed_mask(record.mask, transform, shape, softness)
    spread = None
    if item.spread is not None:
      spread = placed_map(item.spread.astype(np.float32), transform, shape)
      spread = np.where(alpha > 0, spread, 0)
    yield RestoredFrame(
      source=frame,
      image=paste(frame.image, item.crop, transform, alpha),
      alpha=alpha,
      spread=spread,
      past=item.past,
    )
