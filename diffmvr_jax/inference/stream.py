"""Restores a stream of frames, of any length, in bounded memory."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.data.stack import stack_frames
from diffmvr_jax.inference.crop_filling import (
  CropFiller,
  FilledCrop,
  SeededFilling,
  fill_occluded,
)
from diffmvr_jax.inference.paste import SOFTNESS, paste, placed_map, placed_mask


@dataclass(frozen=True)
class SourceFrame:
  """A frame as it was filmed.

  Attributes:
    image: (h, w, 3) uint8.
    pts: presentation timestamp, in the source's time base.
    record: the frame's crop, mask and guidance; None if it has no face.
  """

  image: np.ndarray
  pts: int
  record: FrameRecord | None

  @property
  def occluded(self) -> bool:
    """Whether there is something to restore."""
    return self.record is not None and bool(self.record.mask.any())


@dataclass(frozen=True)
class GuidedFrame:
  """A frame with the guidance that comes from earlier frames.

  Attributes:
    source: the frame.
    past: (s, s, 3) uint8 crop of its past frame; None if it has none.
  """

  source: SourceFrame
  past: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class RestoredFrame:
  """A frame after restoration.

  Attributes:
    source: the frame as it was filmed.
    image: (h, w, 3) uint8; the source's own array if nothing was restored.
    alpha: (h, w) float32 in [0, 1], how much of each pixel was replaced; None
      if nothing was.
    spread: (h, w) float32, the standard deviation of the samples where pixels
      were replaced, in levels of 0 to 255, or what a method's own confidence
      makes of it; None if there was one sample.
    past: (s, s, 3) uint8 crop of its past frame; None if it has none.
  """

  source: SourceFrame
  image: np.ndarray
  alpha: np.ndarray | None = None
  spread: np.ndarray | None = None
  past: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
  """How a stream is restored, whatever fills the crops.

  Attributes:
    seed: the same seed gives the same pixels.
    latency: a frame comes out at the latest when so many more have come in; 0
      means at once.
    softness: softness of the mask's feather, see `feather`.
    samples: number of restorations of each frame, with `seed` and the seeds
      that follow it. The first is shown. If there are several, it is measured
      how far they lie apart.
  """

  seed: int = 0
  latency: int = 32
  softness: float = SOFTNESS
  samples: int = 1


def restore_stream(
  filler: CropFiller,
  frames: Iterable[SourceFrame],
  options: StreamOptions | None = None,
) -> Generator[RestoredFrame, None, None]:
  """Restores frames as they come.

  Frames without occlusion cost nothing. Occluded ones are filled in windows of
  `filler.window` frames, or fewer if one has waited long enough. With a
  network, a frame's pixels do not depend on the window that it is in, unless
  `sampling.start_at` lets a window begin from the one before.

  Args:
    filler: fills the crops.
    frames: in order; a record's past frame is one of the earlier frames.
    options: None means the defaults.

  Yields:
    Every frame, in order.
  """
  options = options or StreamOptions()
  seeds = range(options.seed, options.seed + options.samples)
  filling = SeededFilling(filler.fill, seeds)
  surely = SeededFilling(filler.fill, seeds[:1])

  def fill(window: list[GuidedFrame]) -> list[FilledCrop]:
    records, pasts = [], {}
    for frame in window:
      assert frame.source.record is not None
      records.append(frame.source.record)
      pasts[frame.source.record.past_index] = frame.past
    arrays = stack_frames(records, lambda record: pasts[record.past_index])
    indices = np.array([record.frame_index for record in records])
    confidence = filler.confidence(arrays)
    if confidence is None:
      return filling(arrays, indices)
    return [
      replace(crop, confidence=own)
      for crop, own in zip(surely(arrays, indices), confidence, strict=True)
    ]

  for frame, crop in fill_occluded(
    guided(frames),
    is_occluded=lambda frame: frame.source.occluded,
    fill=fill,
    length=filler.window,
    latency=options.latency,
  ):
    yield _pasted(frame, crop, options)


def guided(frames: Iterable[SourceFrame]) -> Iterator[GuidedFrame]:
  """Adds to each frame the crop of its past frame."""
  crops: dict[int, np.ndarray] = {}  # by frame index
  for frame in frames:
    past = None
    if frame.record is not None:
      past_index = frame.record.past_index
      past = crops.get(past_index)
      # Past frames never go back in time: of the crops, only the present past
      # frame's and this frame's can be asked for again.
      crops = {i: crop for i, crop in crops.items() if i == past_index}
      crops[frame.record.frame_index] = frame.record.image
    yield GuidedFrame(frame, past)


def _pasted(
  frame: GuidedFrame, crop: FilledCrop | None, options: StreamOptions
) -> RestoredFrame:
  source, record = frame.source, frame.source.record
  if crop is None or record is None:
    return RestoredFrame(source=source, image=source.image, past=frame.past)
  shape = source.image.shape[0], source.image.shape[1]
  transform = record.crop_transform
  softness, known, spread = options.softness, None, crop.spread
  if crop.confidence is not None:
    known = (crop.confidence > 0).astype(np.uint8)
    if options.samples > 1:
      spread = spread_of_confidence(crop.confidence)
  alpha = placed_mask(record.mask, transform, shape, softness, known)
  if spread is not None:
    spread = placed_map(spread.astype(np.float32), transform, shape)
    spread = np.where(alpha > 0, spread, 0)
  return RestoredFrame(
    source=source,
    image=paste(source.image, crop.image, transform, alpha),
    alpha=alpha,
    spread=spread,
    past=frame.past,
  )


def spread_of_confidence(confidence: np.ndarray) -> np.ndarray:
  """Returns what confidence in (h, w) uint8 means as a spread, float32.

  It is 0 levels if a pixel is sure, and 64 if nothing is known of it.
  """
  return 64 * (1 - confidence.astype(np.float32) / 255)
