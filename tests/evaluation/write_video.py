"""Writes the videos of tests."""

from fractions import Fraction

import numpy as np

from diffmvr_jax.media.video import TimedFrame, VideoInfo
from diffmvr_jax.media.video_writer import VideoWriter


def write_video(path, frames):
  """Without loss."""
  height, width = frames.shape[1:3]
  info = VideoInfo(
    width=width,
    height=height,
    fps=Fraction(25),
    time_base=Fraction(1, 25),
    has_audio=False,
  )
  with VideoWriter(path, info, lossless=True) as writer:
    for i, frame in enumerate(frames):
      writer.write(TimedFrame(np.ascontiguousarray(frame), i))
