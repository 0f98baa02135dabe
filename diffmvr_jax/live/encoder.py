"""Encodes a live stream: into a recording, to an RTSP server, or a camera."""

import re
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import av
import av.error
import numpy as np
from av.video.stream import VideoStream

from diffmvr_jax.errors import InputError

_TICKS = 1000  # per second
_NOTE = "Pixels under an occlusion are estimated, not seen."
_RTSP = re.compile(r"rtsps?://", re.IGNORECASE)


@runtime_checkable
class Outlet(Protocol):
  """Takes restored frames as they come."""

  def write(self, image: np.ndarray, seconds: float) -> None:
    """Takes a frame.

    Args:
      image: (h, w, 3) uint8.
      seconds: when it was filmed; later than the frame before.
    """
    ...

  def close(self) -> None:
    """Ends the stream; a file is complete then."""
    ...


class Encoder:
  """Encodes frames as they come, with H.264, in little time.

  Args:
    address: a file, or the address of an RTSP server that takes streams.
    size: width and height of the frames.

  Raises:
    InputError: the address cannot be written to.
  """

  def __init__(self, address: str | Path, size: tuple[int, int]):
    live = self._live = _RTSP.match(str(address)) is not None
    try:
      self._output = av.open(
        str(address),
        "w",
        format="rtsp" if live else None,
        options={"rtsp_transport": "tcp"} if live else {},
      )
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise InputError(f"cannot write there ({error})") from error
    self._output.metadata["comment"] = _NOTE
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
    self._last = -1

  def write(self, image: np.ndarray, seconds: float) -> None:
    """Encodes a frame, see `Outlet`.

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
    try:
      self._output.mux(self._stream.encode(frame))
    except (av.error.FFmpegError, OSError) as error:
      raise InputError(f"the stream broke off ({error})") from error

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


class VirtualCamera:
  """Shows frames as a camera of this machine, which other programs can open.

  Args:
    size: width and height of the frames.

  Raises:
    InputError: pyvirtualcam is not installed, or there is no such device.
  """

  def __init__(self, size: tuple[int, int]):
    try:
      self._camera = _cameras().Camera(*size, 25)
    except (RuntimeError, OSError) as error:
      raise InputError(
        f"no virtual camera can be opened ({error}); docs/live.md says how to "
        "make one"
      ) from error
    self._size = size

  def write(self, image: np.ndarray, seconds: float) -> None:
    """Shows a frame, see `Outlet`."""
    del seconds
    if (image.shape[1], image.shape[0]) != self._size:
      raise InputError("the size of the frames has changed")
    self._camera.send(image)

  def close(self) -> None:
    """Frees the device."""
    self._camera.close()


def _cameras() -> Any:
  try:
    # An extra that tests do not install.
    import pyvirtualcam  # pyright: ignore[reportMissingImports]
  except ImportError as error:
    raise InputError(
      "pyvirtualcam is missing; pip install 'diffmvr-jax[virtual-camera]'"
    ) from error
  return pyvirtualcam


def opener(name: str) -> Callable[[tuple[int, int]], Outlet]:
  """Returns what opens an outlet once the frames' size is known.

  Args:
    name: `rtsp://…` or `virtual-camera`.

  Raises:
    InputError: it is neither, or pyvirtualcam is not installed.
  """
  if name == "virtual-camera":
    _cameras()  # refused now, not with the first frame
    return VirtualCamera
  if _RTSP.match(name):
    return lambda size: Encoder(name, size)
  raise InputError(f"--out {name}: expected rtsp://… or virtual-camera")


class Reopened:
  """An outlet that is opened again, after a pause, whenever it breaks off.

  Args:
    open_outlet: opens it for frames of a size.
  """

  PAUSE = 5.0  # seconds

  def __init__(self, open_outlet: Callable[[tuple[int, int]], Outlet]):
    self._open, self._outlet = open_outlet, None
    self._next = 0.0

  def write(self, image: np.ndarray, seconds: float) -> None:
    """Passes a frame on if the outlet is there."""
    if self._outlet is None:
      if time.monotonic() < self._next:
        return
      self._next = time.monotonic() + self.PAUSE
    try:
      if self._outlet is None:
        self._outlet = self._open((image.shape[1], image.shape[0]))
      self._outlet.write(image, seconds)
    except InputError:
      self.close()

  def close(self) -> None:
    """Ends the stream."""
    outlet, self._outlet = self._outlet, None
    if outlet is not None:
      outlet.close()
