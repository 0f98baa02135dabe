"""Fills occluded crops, a window at a time, by whatever method is given."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from diffmvr_jax.data.windows import Window
from diffmvr_jax.inference.paste import composite, feather

Frame = TypeVar("Frame")
Filled = TypeVar("Filled")


@runtime_checkable
class FillWindow(Protocol):
  """Fills the occluded part of a window of crops."""

  def __call__(
    self,
    window: Window,
    frame_index: np.ndarray,
    seed: int,
    *,
    previous: np.ndarray | None = None,
  ) -> np.ndarray:
    """Fills every crop, and may change its visible part as well.

    Args:
      window: arrays (frame, h, w, c), named as in the data contract.
      frame_index: (frame,) number of each frame in its video.
      seed: the same seed gives the same pixels.
      previous: (h, w, 3) uint8, what was returned for the frame before the
        window's first one; None if that frame was not filled.

    Returns:
      (frame, h, w, 3) uint8.
    """
    ...


@runtime_checkable
class CropFiller(Protocol):
  """A method that fills crops: a network, or something simpler."""

  @property
  def crop_size(self) -> int:
    """Side of the crops, in pixels."""
    ...

  @property
  def window(self) -> int:
    """The largest number of frames that are filled in one call."""
    ...

  @property
  def aligned(self) -> str:
    """How much aligned guidance the windows have to hold.

    It is "none", "propagated" or "sources", see `data_prep.faces.aligned`.
    """
    ...

  @property
  def provenance(self) -> Mapping[str, Any]:
    """What a restored file says of the method, ready for JSON."""
    ...

  @property
  def fill(self) -> FillWindow:
    """The function that fills a window."""
    ...

  def confidence(self, window: Window) -> np.ndarray | None:
    """Tells how sure the method is of what it fills, if it knows by itself.

    Args:
      window: arrays (frame, h, w, c), named as in the data contract.

    Returns:
      (frame, h, w) uint8; where it is 0 the source's pixels are kept. None if
      the method fills everything, and only samples tell how sure it is.
    """
    ...


@dataclass(frozen=True)
class FilledCrop:
  """The filled crop of one frame.

  Attributes:
    image: (h, w, 3) uint8, filled with the first seed.
    spread: (h, w) standard deviation over the seeds, in levels of 0 to 255;
      None if there is only one seed.
    confidence: (h, w) uint8, see `CropFiller.confidence`.
  """

  image: np.ndarray
  spread: np.ndarray | None = None
  confidence: np.ndarray | None = None


class SeededFilling:
  """Fills the windows of one video in order, once for each seed.

  If a window follows directly on the last one, it may start from that one's
  last crop.

  Args:
    fill: fills one window with one seed.
    seeds: the first one's crops are shown.

  Example:
    >>> def add_seed(window, frame_index, seed, *, previous=None):
    ...   return window["frame"] + np.uint8(seed)
    >>> filling = SeededFilling(add_seed, seeds=[1, 3])
    >>> black = {"frame": np.zeros((1, 2, 2, 3), np.uint8)}
    >>> (crop,) = filling(black, np.array([7]))
    >>> int(crop.image.max()), float(crop.spread.max())
    (1, 1.0)
  """

  def __init__(self, fill: FillWindow, seeds: Sequence[int]):
    self._fill, self._seeds = fill, seeds
    self._next_index = -1
    self._last_crops: dict[int, np.ndarray] = {}

  def __call__(
    self, window: Window, frame_index: np.ndarray
  ) -> list[FilledCrop]:
    """Fills a window; its frames come after those of the last window.

    Args:
      window: arrays (frame, h, w, c), named as in the data contract.
      frame_index: (frame,) number of each frame in its video.
    """
    if frame_index[0] != self._next_index:
      self._last_crops = {}
    samples = []
    for seed in self._seeds:
      previous = self._last_crops.get(seed)
      crops = self._fill(window, frame_index, seed, previous=previous)
      self._last_crops[seed] = crops[-1]
      samples.append(crops)
    self._next_index = int(frame_index[-1]) + 1
    if len(samples) == 1:
      return [FilledCrop(crop) for crop in samples[0]]
    spreads = np.std(samples, axis=0).mean(-1)
    return [FilledCrop(*pair) for pair in zip(samples[0], spreads, strict=True)]


def restore_clip(filler: CropFiller, clip: Window, seed: int = 0) -> np.ndarray:
  """Restores a clip of crops, of any length.

  Frames without occlusion are returned as they are and cost nothing; the others
  are filled in windows of `filler.window` frames.

  Args:
    filler: fills the crops.
    clip: arrays (frame, h, w, c) named as in the data contract.
    seed: the same seed gives the same pixels.

  Returns:
    (frame, h, w, 3) uint8; outside of the feathered mask equal to `frame`.
  """
  filling = SeededFilling(filler.fill, [seed])

  def fill(numbers: list[int]) -> list[FilledCrop]:
    chosen = np.array(numbers)
    window = {n: value[chosen] for n, value in clip.items() if n != "target"}
    return filling(window, chosen)

  restored = clip["frame"].copy()
  for i, crop in fill_occluded(
    range(len(restored)),
    is_occluded=lambda i: bool(clip["mask"][i].any()),
    fill=fill,
    length=filler.window,
  ):
    if crop is not None:
      alpha = feather(clip["mask"][i, ..., 0])
      restored[i] = composite(clip["frame"][i], crop.image, alpha)
  return restored


def fill_occluded(
  frames: Iterable[Frame],
  *,
  is_occluded: Callable[[Frame], bool],
  fill: Callable[[list[Frame]], Sequence[Filled]],
  length: int,
  latency: int | None = None,
) -> Iterator[tuple[Frame, Filled | None]]:
  """Groups occluded frames into windows, and fills each window in one call.

  Args:
    frames: in order.
    is_occluded: whether a frame has something to fill.
    fill: takes the occluded frames of a window, returns one result for each.
    length: a window of so many frames is filled at once.
    latency: a smaller window is filled when so many frames, occluded or not,
      have come after its first one; None means only when there are no more.

  Yields:
    Every frame, in order, with its result; None if it is not occluded.

  Example:
    >>> list(fill_occluded(
    ...   [1, 2, 3], is_occluded=lambda n: n > 1, length=2,
    ...   fill=lambda window: [10 * n for n in window],
    ... ))
    [(1, None), (2, 20), (3, 30)]
  """
  waiting: deque[tuple[Frame, bool]] = deque()
  count = 0  # of occluded frames among those that wait
  for frame in frames:
    occluded = is_occluded(frame)
    waiting.append((frame, occluded))
    count += occluded
    # If any frame is occluded, then the first one that waits is.
    late = latency is not None and len(waiting) > latency
    if count in (0, length) or late:
      yield from _release(waiting, fill)
      count = 0
  yield from _release(waiting, fill)


def _release(
  waiting: deque[tuple[Frame, bool]],
  fill: Callable[[list[Frame]], Sequence[Filled]],
) -> Iterator[tuple[Frame, Filled | None]]:
  window = [frame for frame, occluded in waiting if occluded]
  filled = deque(fill(window) if window else ())
  del window  # so that a frame can be freed once it is yielded
  while waiting:
    frame, occluded = waiting.popleft()
    yield frame, filled.popleft() if occluded else None
