"""Encodes a live stream: into a recording, or to an RTSP server."""

from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream

from diffmvr_jax.errors import InputError
from diffmvr_jax.media.addresses import is_rtsp

_TICKS = 1000  # per second
_NOTE = "Pixels under an occlusion are estimated, not seen."
# Milliseconds after which a stream can be joined; H.264's picture between two
# such frames is the difference to the one before.
_JOIN = 2000


class Encoder:
  """Encodes frames as they come, with H.264, in little time.

  Args:
    address: a file, or the address of an RTSP server that takes streams.
    size: width and height of the frames.

  Raises:
    InputError: the address cannot be written to.
  """

  def __init__(self, address: str | Path, size: tuple[int, int]):
    live = self._live = is_rtsp(str(address))
    try:
      self._output = av.open(
        str(address),
        "w",
        format="rtsp" if live else None,
        options={"rtsp_transport": "tcp"} if live else {},
      )
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise _cannot_write(error) from None
    # Of a stream, players get the title alone.
    self._output.metadata["title" if live else "comment"] = _NOTE
    quick = {"preset": "ultrafast", "crf": "20", "tune": "zerolatency"}
    stream = self._output.add_stream("libx264", rate=25, options=quick)
    assert isinstance(stream, VideoStream)
    # H.264 takes even sides; an odd last row or column is left out.
    self._size = size[0] // 2 * 2, size[1] // 2 * 2
    stream.width, stream.height = self._size
    stream.pix_fmt = "yuv420p"
    stream.time_base = Fraction(1, _TICKS)
    stream.codec_context.time_base = Fraction(1, _TICKS)
    self._stream = stream
    self._first: float | None = None
    self._last, self._joined = -1, -_JOIN
    if live:
      try:
        self._output.start_encoding()  # connects
      except (av.error.FFmpegError, OSError) as error:
        raise _cannot_write(error) from None

  def write(self, image: np.ndarray, seconds: float) -> None:
    """Encodes a frame.

    Args:
      image: (h, w, 3) uint8.
      seconds: when it was filmed; later than the frame before.

    Raises:
      InputError: its size is another one, or the server has gone.
    """
    width, height = self._size
    if (image.shape[1] // 2 * 2, image.shape[0] // 2 * 2) != self._size:
      raise InputError("the size of the frames has changed")
    if self._first is None:
      self._first = seconds
    self._last = max(round((seconds - self._first) * _TICKS), self._last + 1)
    even = np.ascontiguousarray(image[:height, :width])
    frame = av.VideoFrame.from_ndarray(even, format="rgb24")
    frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
    if self._live and self._last - self._joined >= _JOIN:
      frame.pict_type, self._joined = PictureType.I, self._last
    try:
      self._output.mux(self._stream.encode(frame))
    except (av.error.FFmpegError, OSError) as error:
      raise InputError(f"the stream broke off ({_reason(error)})") from None

  def close(self) -> None:
    """Ends the stream; a file is complete then.

    Raises:
      InputError: the disk does not take the file's end. A server may have gone.
    """
    problem = None
    for end in (self._end_stream, self._output.close):
      try:
        end()
      except (av.error.FFmpegError, OSError) as error:
        problem = problem or error
    if problem is not None and not self._live:
      raise InputError(f"the video is not complete ({problem.strerror})")

  def _end_stream(self) -> None:
    self._output.mux(self._stream.encode(None))


def _cannot_write(error: Exception) -> InputError:
  return InputError(f"cannot write there ({_reason(error)})")


def _reason(error: Exception) -> str:
  """FFmpeg's reason without its address, which may hold a password."""
  return getattr(error, "strerror", None) or type(error).__name__
