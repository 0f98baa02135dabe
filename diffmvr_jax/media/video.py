"""Video in and out through PyAV; imports no JAX.

Frames are (h, w, 3) uint8 RGB, upright. Timestamps pass through unchanged, so
frame rate, also a variable one, is that of the source.
"""

import sys
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


@dataclass(frozen=True, kw_only=True)
class Colour:
  """How a video's numbers mean colours, as FFmpeg counts these.

  The defaults mean: not said. FFmpeg then takes ITU-R 601 with limited range,
  in both directions, so that what was not said stays right.
  """

  space: int = 2
  range: int = 0
  primaries: int = 2
  transfer: int = 2


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
  """What is known of a video before it is decoded.

  Attributes:
    width: of an upright frame, in pixels.
    height: likewise.
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
    InputError: no such file, not a video, no frame in it.
  """
  with _open(path) as container:
    stream = container.streams.video[0]
    first = _first(path, container)
    height, width = _upright(first).shape[:2]
    unit = time_base(stream)
    assert unit is not None
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
  """Number of frames as the header gives it; 0 where it does not.

  Raises:
    InputError: no such file, or not a video.
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
    InputError: as `probe`; or the video is damaged part of the way.
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
  """Frames of an open container, upright; FFmpeg's errors pass through."""
  for index, frame in enumerate(container.decode(stream)):
    pts = frame.pts
    if pts is None:  # raw streams have none
      unit = time_base(stream)
      assert unit is not None
      pts = round(index / frame_rate(stream) / unit)
    yield TimedFrame(_upright(frame), pts)


def frame_rate(stream: VideoStream) -> Fraction:
  """Average frames per second; 25 where nothing is said."""
  rate = stream.average_rate or stream.guessed_rate
  return _fraction(rate) if rate else Fraction(25)


def time_base(stream: VideoStream) -> Fraction | None:
  """Seconds per timestamp unit; None where it is not known."""
  return _fraction(stream.time_base) if stream.time_base else None


def _fraction(rational: Any) -> Fraction:
  # From version 19 on PyAV has a type of its own.
  return Fraction(rational.numerator, rational.denominator)


class VideoWriter:
  """Encodes frames; the file appears only when it is complete.

  The same frames give the same bytes.

  Args:
    path: the container follows its suffix.
    info: size, frame rate and time base.
    lossless: RGB without loss: FFV1 in `.mkv`, x264 at qp 0 elsewhere.
    copy_from: a video whose audio and subtitles are copied, undecoded; a
      stream that the container cannot hold is left out, with a warning.
    comment: for the container's metadata.

  Example:
    >>> with VideoWriter("out.mp4", info) as writer:  # doctest: +SKIP
    ...   for frame in read_frames("in.mp4"):
    ...     writer.write(frame)
  """

  def __init__(
    self,
    path: str | Path,
    info: VideoInfo,
    *,
    lossless: bool = False,
    copy_from: str | Path | None = None,
    comment: str | None = None,
  ):
    self._path = Path(path)
    self._partial = self._path.with_name(f"partial-{self._path.name}")
    self._path.parent.mkdir(parents=True, exist_ok=True)
    try:
      # bitexact: no random identifier in the file
      self._output = av.open(
        self._partial, "w", options={"fflags": "+bitexact"}
      )
    except ValueError as error:
      raise InputError(
        f"{path}: unknown kind of video file; use .mp4, .mkv, .mov or .webm"
      ) from error
    if comment is not None:
      self._output.metadata["comment"] = comment
    codec, pixels, options = _encoding(self._path.suffix, info, lossless)
    stream = self._output.add_stream(codec, rate=info.fps, options=options)
    assert isinstance(stream, VideoStream)
    self._stream = stream
    self._stream.width, self._stream.height = info.width, info.height
    # Not as many as this machine has: the bytes depend on the number.
    self._stream.codec_context.thread_type = "FRAME"
    self._stream.codec_context.thread_count = 4
    self._stream.pix_fmt = pixels
    self._stream.time_base = info.time_base
    self._stream.codec_context.time_base = info.time_base
    self._colour = Colour() if pixels in _RGB else info.colour
    context = self._stream.codec_context
    context.colorspace = self._colour.space
    context.color_range = self._colour.range
    context.color_primaries = self._colour.primaries
    context.color_trc = self._colour.transfer
    self._time_base = info.time_base
    self._copied = _StreamCopy(copy_from, self._output) if copy_from else None

  def __enter__(self) -> "VideoWriter":
    return self

  def write(self, timed: TimedFrame) -> None:
    """Encodes one frame, and copies the other streams up to it."""
    frame = av.VideoFrame.from_ndarray(timed.image, format="rgb24").reformat(
      format=self._stream.pix_fmt,
      dst_colorspace=self._colour.space,
      dst_color_range=self._colour.range,
    )
    frame.pts, frame.time_base = timed.pts, self._time_base
    self._output.mux(self._stream.encode(frame))
    if self._copied is not None:
      self._copied.copy_until(timed.pts * self._time_base)

  def __exit__(self, kind, value, traceback) -> None:
    if kind is None:
      self._output.mux(self._stream.encode(None))
      if self._copied is not None:
        self._copied.copy_until(None)
    if self._copied is not None:
      self._copied.close()
    self._output.close()
    if kind is None:
      self._partial.replace(self._path)
    else:
      self._partial.unlink(missing_ok=True)


class _StreamCopy:
  """Copies packets of audio and subtitles in step with the video."""

  def __init__(self, source: str | Path, output):
    self._source = av.open(source)
    self._output = output
    self._streams = {}
    for stream in (
      *self._source.streams.audio,
      *self._source.streams.subtitles,
    ):
      codec = stream.codec_context.codec.canonical_name
      if codec in output.supported_codecs:
        self._streams[stream] = output.add_stream_from_template(stream)
      else:
        print(
          f"warning: {source}: its {stream.type} stream ({codec}) cannot be "
          f"in {Path(output.name).suffix} and is left out; .mkv takes most",
          file=sys.stderr,
        )
    chosen = list(self._streams)
    self._packets = self._source.demux(chosen) if chosen else iter(())
    self._waiting = next(self._packets, None)

  def copy_until(self, seconds: Fraction | None) -> None:
    while (packet := self._waiting) is not None:
      if packet.dts is not None:
        if seconds is not None and packet.dts * packet.time_base > seconds:
          return
        packet.stream = self._streams[packet.stream]
        self._output.mux(packet)
      self._waiting = next(self._packets, None)

  def close(self) -> None:
    self._source.close()


_RGB = ("rgb24", "bgr0")


def _encoding(
  suffix: str, info: VideoInfo, lossless: bool
) -> tuple[str, str, dict[str, str]]:
  if lossless and suffix == ".mkv":
    return "ffv1", "bgr0", {}
  if lossless:
    return "libx264rgb", "rgb24", {"qp": "0", "preset": "veryfast"}
  even = info.width % 2 == 0 and info.height % 2 == 0
  pixels = "yuv420p" if even else "yuv444p"
  if suffix == ".webm":
    return "libvpx-vp9", pixels, {"crf": "18", "b": "0"}
  # mbtree: x264's reads memory that nobody wrote, so that now and then the
  # same frames became other bytes.
  return "libx264", pixels, {"crf": "14", "preset": "medium", "mbtree": "0"}


def _open(path: str | Path):
  if not Path(path).is_file():
    raise InputError(f"{path}: no such file")
  try:
    container = av.open(path)
  except av.error.FFmpegError as error:
    raise InputError(
      f"{path}: not a video that FFmpeg reads ({error.strerror})"
    ) from error
  if not container.streams.video:
    container.close()
    raise InputError(f"{path}: has no video stream")
  return container


def _promised_seconds(stream: VideoStream) -> Fraction | None:
  unit = time_base(stream)
  if stream.duration and unit:
    return stream.duration * unit
  if "DURATION" not in stream.metadata:  # Matroska's: hours:minutes:seconds
    return None
  hours, minutes, seconds = stream.metadata["DURATION"].split(":")
  return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)


class _EndCheck:
  """Some containers end without an error where they were cut off.

  The last frame has to lie at the promised end, give or take the longest
  pause between two frames, since that is how long it may be shown.
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
