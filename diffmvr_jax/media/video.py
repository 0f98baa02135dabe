"""Reads videos through PyAV; imports no JAX.

Frames are (h, w, 3) uint8 RGB, upright. Timestamps pass through unchanged, so
that the frame rate, even a variable one, stays that of the source.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.stream import VideoStream

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import refuse_special

# Of files that are taken for videos where a folder is named.
SUFFIXES = {
  *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts"),
  *(".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv", ".gif", ".mxf"),
}
# Titles need not be UTF-8; from version 19 on PyAV takes all of them.
_OLD = int(av.__version__.partition(".")[0]) < 19
_ANY_TITLE: dict[str, Any] = {"metadata_errors": "replace"} if _OLD else {}
# Matroska's tag: hours, minutes, seconds.
_DURATION = re.compile(r"(?a:(\d{1,4}):(\d{1,2}):(\d{1,2}(?:\.\d{1,12})?))")


@dataclass(frozen=True, kw_only=True)
class Colour:
  """What a video's numbers mean as colours, in FFmpeg's codes.

  The defaults mean that the video does not say. FFmpeg then assumes ITU-R 601
  with limited range when it decodes and when it encodes, so that the colours
  stay the same.
  """

  space: int = 2
  range: int = 0
  primaries: int = 2
  transfer: int = 2


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
  """What is known of a video before it is decoded.

  Attributes:
    width: width of an upright frame, in pixels.
    height: height of an upright frame, in pixels.
    fps: average frames per second.
    time_base: seconds per timestamp unit.
    has_audio: whether there is an audio stream.
    colour: what its numbers mean.
  """

  width: int
  height: int
  fps: Fraction
  time_base: Fraction
  has_audio: bool
  colour: Colour = Colour()


@dataclass(frozen=True)
class TimedFrame:
  """A frame with its presentation timestamp, in `time_base` units."""

  image: np.ndarray
  pts: int


def probe(path: str | Path) -> VideoInfo:
  """Reads the header and the first frame.

  Raises:
    InputError: there is no such file, it is no video, or it has no frame.
  """
  with _open(path) as container:
    stream = container.streams.video[0]
    first = _first(path, container)
    height, width = _upright(first).shape[:2]
    unit = time_base(stream)
    if unit is None:
      raise InputError(f"{path}: says no time base; convert it to another kind")
    return VideoInfo(
      width=width,
      height=height,
      fps=frame_rate(stream),
      time_base=unit,
      has_audio=bool(container.streams.audio),
      colour=Colour(
        space=int(first.colorspace),
        range=int(first.color_range),
        primaries=int(first.color_primaries),
        transfer=int(first.color_trc),
      ),
    )


def frame_estimate(path: str | Path) -> int:
  """Returns the number of frames that the header gives; 0 if it gives none.

  Raises:
    InputError: there is no such file, or it is no video.
  """
  with _open(path) as container:
    stream = container.streams.video[0]
    if stream.frames:
      return stream.frames
    return round((_promised_seconds(stream) or 0) * frame_rate(stream))


def count_frames(path: str | Path) -> int:
  """Counts a video's frames exactly, by decoding it.

  Raises:
    InputError: as `read_frames`.
  """
  return sum(1 for _ in read_frames(path))


def read_frames(path: str | Path) -> Iterator[TimedFrame]:
  """Decodes a video frame by frame.

  Raises:
    InputError: as `probe`, or the video is damaged part of the way.
  """
  with _open(path) as container:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    end = _EndCheck(path, stream)
    count = 0
    try:
      for frame in decoded(container, stream):
        yield frame
        end.see(frame.pts)
        count += 1
      end.finish(count)
    except av.error.FFmpegError as error:
      raise InputError(
        f"{path}: damaged after {count} frames ({error.strerror})"
      ) from error


def decoded(container: Any, stream: VideoStream) -> Iterator[TimedFrame]:
  """Yields an open container's frames, upright; raises FFmpeg's own errors."""
  for index, frame in enumerate(container.decode(stream)):
    pts = frame.pts
    if pts is None:  # raw streams have none
      unit = time_base(stream) or 1 / frame_rate(stream)
      pts = round(index / frame_rate(stream) / unit)
    yield TimedFrame(_upright(frame), pts)


def frame_rate(stream: VideoStream) -> Fraction:
  """Returns the average frames per second; 25 if the stream does not say."""
  for rate in (stream.average_rate, stream.guessed_rate):
    if rate and rate.denominator > 0 and rate.numerator > 0:
      return _fraction(rate)
  return Fraction(25)


def time_base(stream: VideoStream) -> Fraction | None:
  """Returns the seconds per timestamp unit; None if they are not known."""
  unit = stream.time_base
  known = unit and unit.denominator > 0 and unit.numerator > 0
  return _fraction(unit) if known else None


def _fraction(rational: Any) -> Fraction:
  # From version 19 on PyAV has a type of its own.
  return Fraction(rational.numerator, rational.denominator)


def open_container(path: str | Path) -> Any:
  """Opens a file with FFmpeg.

  Raises:
    InputError: there is no such file, or FFmpeg does not read it.
  """
  refuse_special(Path(path))
  try:
    return av.open(path, **_ANY_TITLE)
  except av.error.FFmpegError as error:
    raise InputError(
      f"{path}: not a video that FFmpeg reads ({error.strerror})"
    ) from error


def _open(path: str | Path):
  container = open_container(path)
  if not container.streams.video:
    container.close()
    raise InputError(f"{path}: has no video stream")
  return container


def _promised_seconds(stream: VideoStream) -> Fraction | None:
  unit = time_base(stream)
  if stream.duration and unit:
    return stream.duration * unit
  container = stream.container
  if "matroska" not in container.format.name:
    return None
  # Anybody can write anything there.
  tag = _DURATION.fullmatch(stream.metadata.get("DURATION", ""))
  if tag is not None:
    hours, minutes, seconds = tag.groups()
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
  # The tag is at the end of the file, and lost with it; this is at its start.
  if container.duration and len(container.streams) == 1:
    return Fraction(container.duration, av.time_base)
  return None


class _EndCheck:
  """Notices a video that was cut off, which some containers do not report.

  The last frame has to lie at the end that the header promises, give or take
  the longest pause between two frames, since it may be shown for so long.
  """

  def __init__(self, path: str | Path, stream: VideoStream):
    self._path = path
    self._time_base = time_base(stream) or Fraction(1)
    self._promised = _promised_seconds(stream)
    # Matroska promises an end, other containers a length.
    self._first: int | None = None if stream.duration else 0
    self._last: int | None = None
    self._pause = Fraction(1, 5) / self._time_base

  def see(self, pts: int) -> None:
    if self._first is None:
      self._first = pts
    if self._last is not None:
      self._pause = max(self._pause, pts - self._last)
    self._last = pts

  def finish(self, count: int) -> None:
    if self._promised is None or self._first is None or self._last is None:
      return
    length = self._last - self._first + 2 * self._pause
    if length * self._time_base < self._promised:
      raise InputError(
        f"{self._path}: ends after frame {count - 1}, at "
        f"{float(self._last * self._time_base):.2f} s of "
        f"{float(self._promised):.2f} s: truncated"
      )


def _first(path: str | Path, container) -> av.VideoFrame:
  try:
    return next(container.decode(video=0))
  except (StopIteration, av.error.FFmpegError) as error:
    raise InputError(f"{path}: no frame can be decoded") from error


def _upright(frame: av.VideoFrame) -> np.ndarray:
  image = frame.to_ndarray(format="rgb24")
  turns = round(frame.rotation / 90) % 4
  return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
