"""Writes videos through PyAV, with the other streams of their source."""

import contextlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.video.stream import VideoStream

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import make_folder, replacing, writing
from diffmvr_jax.media.video import (
  Colour,
  TimedFrame,
  VideoInfo,
  open_container,
)

_RGB = ("rgb24", "bgr0")


class VideoWriter:
  """Encodes frames; the file appears only when it is complete.

  The same frames give the same bytes.

  Args:
    path: file to write; its suffix decides the kind of container.
    info: size, frame rate, time base and colours.
    lossless: whether to encode RGB without loss: as FFV1 in `.mkv`, as x264
      at qp 0 in other containers.
    copy_from: a video whose audio and subtitles are copied without decoding; a
      stream that the container cannot hold is left out, with a warning.
    comment: text for the container's metadata.

  Raises:
    InputError: there is no such kind of file, or it cannot hold such frames.
    OSError: the disk does not take it; names the file. Nothing is left.

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
    self._count = 0
    self._copied: _StreamCopy | None = None
    make_folder(self._path.parent)
    with ExitStack() as stack:
      partial = stack.enter_context(replacing(self._path, keeps_suffix=True))
      self._output = _open(partial, self._path)
      stack.push(self._close)
      self._set_up(info, lossless=lossless, comment=comment)
      if copy_from:
        self._copied = _StreamCopy(copy_from, self._output, self._path)
      self._opened = stack.pop_all()

  def _set_up(
    self, info: VideoInfo, *, lossless: bool, comment: str | None
  ) -> None:
    if comment is not None:
      self._output.metadata["comment"] = comment
    codec, pixels, options = _encoding(self._path.suffix, info, lossless)
    try:
      stream = self._output.add_stream(codec, rate=info.fps, options=options)
    except ValueError as error:
      raise InputError(
        f"{self._path}: a {self._path.suffix} file holds no {codec} video; use "
        ".mp4, .mkv, .mov or .webm"
      ) from error
    assert isinstance(stream, VideoStream)
    self._stream = stream
    self._stream.width, self._stream.height = info.width, info.height
    # A fixed number, whatever the machine: the bytes depend on it.
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

  def __enter__(self) -> "VideoWriter":
    return self

  def write(self, timed: TimedFrame) -> None:
    """Encodes one frame, and copies the other streams up to it.

    Raises:
      InputError: FFmpeg does not encode such frames.
      OSError: the disk does not take it; names the file.
    """
    frame = av.VideoFrame.from_ndarray(timed.image, format="rgb24").reformat(
      format=self._stream.pix_fmt,
      dst_colorspace=self._colour.space,
      dst_color_range=self._colour.range,
    )
    frame.pts, frame.time_base = timed.pts, self._time_base
    self._encode(frame)
    self._count += 1
    if self._copied is not None:
      self._copied.copy_until(timed.pts * self._time_base)

  def __exit__(self, *exception) -> bool | None:
    return self._opened.__exit__(*exception)

  def _encode(self, frame: av.VideoFrame | None) -> None:
    with self._writing():
      self._output.mux(self._stream.encode(frame))

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      with writing(self._path):
        yield
    except av.error.FFmpegError as error:
      raise InputError(
        f"{self._path}: FFmpeg cannot encode {self._stream.width}x"
        f"{self._stream.height} at {float(self._stream.codec_context.rate):g} "
        f"frames per second ({error.strerror})"
      ) from error

  def _close(self, kind, value, traceback) -> None:
    """Ends the file, or only closes it after an error."""
    if self._copied is not None and kind is not None:
      self._copied.close()
    if kind is not None:
      # What has failed to be written fails again.
      with contextlib.suppress(OSError, av.error.FFmpegError):
        self._output.close()
      return
    try:
      if not self._count:
        raise InputError(f"{self._path}: there is no frame to write")
      self._encode(None)
      if self._copied is not None:
        self._copied.copy_until(None)
        self._copied.close()
    finally:
      with self._writing():
        self._output.close()


class _StreamCopy:
  """Copies packets of audio and subtitles in step with the video."""

  def __init__(self, source: str | Path, output: Any, path: Path):
    self._source = open_container(source)
    self._path, self._output = path, output
    self._streams = {}
    for stream in (
      *self._source.streams.audio,
      *self._source.streams.subtitles,
    ):
      codec = _codec_name(stream)
      if codec in output.supported_codecs:
        self._streams[stream] = output.add_stream_from_template(stream)
      else:
        print(
          f"warning: {source}: its {stream.type} stream ({codec}) cannot be "
          f"in {path.suffix} and is left out; .mkv takes most",
          file=sys.stderr,
        )
    chosen = list(self._streams)
    self._packets = self._source.demux(chosen) if chosen else iter(())
    self._waiting = next(self._packets, None)

  def copy_until(self, seconds: Fraction | None) -> None:
    try:
      self._copy_until(seconds)
    except av.error.FFmpegError as error:
      raise InputError(
        f"{self._source.name}: its sound or subtitles cannot be copied to "
        f"{self._path.name} ({error.strerror})"
      ) from error

  def _copy_until(self, seconds: Fraction | None) -> None:
    while (packet := self._waiting) is not None:
      if packet.dts is not None:
        if seconds is not None and packet.dts * packet.time_base > seconds:
          return
        packet.stream = self._streams[packet.stream]
        with writing(self._path):
          self._output.mux(packet)
      self._waiting = next(self._packets, None)

  def close(self) -> None:
    self._source.close()


def _open(partial: Path, path: Path) -> Any:
  try:
    with writing(path):
      # bitexact: no random identifier in the file
      return av.open(partial, "w", options={"fflags": "+bitexact"})
  except ValueError as error:
    raise InputError(
      f"{path}: unknown kind of video file; use .mp4, .mkv, .mov or .webm"
    ) from error


def _codec_name(stream: Any) -> str:
  """The codec of a stream; "unknown" if FFmpeg has none for it."""
  context = stream.codec_context
  if context is None or context.codec is None:
    return "unknown"
  return context.codec.canonical_name


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
  # x264's mbtree reads memory that was never written, so that the same frames
  # sometimes became other bytes.
  return "libx264", pixels, {"crf": "14", "preset": "medium", "mbtree": "0"}
