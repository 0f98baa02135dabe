"""Frames in memory as the arrays of a window."""

from collections.abc import Callable, Sequence

import numpy as np

from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.data.windows import Window


def stack_frames(
  frames: Sequence[FrameRecord], past: Callable[[FrameRecord], np.ndarray]
) -> Window:
  """Stacks frames into arrays of shape (frame, …), named as the contract.

  Args:
    frames: adjacent frames of one video.
    past: gives a frame's past image; called only for frames that have one.

  Returns:
    Masks are (frame, h, w, 1). `target`, `PROPAGATED` and `SOURCES` are there
    if every frame has them.
  """
  window = {
    "frame": np.stack([f.image for f in frames]),
    "mask": np.stack([f.mask for f in frames])[..., None],
    "symmetric": np.stack([f.symmetric for f in frames]),
    "past": np.stack(
      [past(f) if f.past_index >= 0 else np.zeros_like(f.image) for f in frames]
    ),
    "symmetric_valid": np.asarray([f.symmetric_valid for f in frames]),
    "past_valid": np.asarray([f.past_index >= 0 for f in frames]),
  }
  targets = [f.target for f in frames if f.target is not None]
  if len(targets) == len(frames):
    window["target"] = np.stack(targets)
  return window | _stack_propagated(frames) | _stack_sources(frames)


def _stack_propagated(frames: Sequence[FrameRecord]) -> Window:
  images = [f.propagated for f in frames if f.propagated is not None]
  levels = [
    f.propagated_confidence
    for f in frames
    if f.propagated_confidence is not None
  ]
  if not len(images) == len(levels) == len(frames):
    return {}
  return {
    "propagated": np.stack(images),
    "propagated_confidence": np.stack(levels)[..., None],
  }


def _stack_sources(frames: Sequence[FrameRecord]) -> Window:
  images, masks, flows, indices = [], [], [], []
  for frame in frames:
    if frame.source_images is None or frame.source_known is None:
      return {}
    nothing = np.zeros_like(frame.image)
    images.append(
      [nothing if image is None else image for image in frame.source_images]
    )
    masks.append(
      [nothing[..., 0] if mask is None else mask for mask in frame.source_known]
    )
    flows.append(np.asarray(frame.source_flow))
    indices.append(np.asarray(frame.source_index))
  return {
    "sources": np.asarray(images),
    "source_known": np.asarray(masks)[..., None],
    "source_flow": np.stack(flows),
    "source_valid": np.stack(indices) >= 0,
  }
