"""Where restored frames go beside the viewers: an RTSP server, or a camera."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diffmvr_jax.errors import InputError
from diffmvr_jax.live.newest import Newest
from diffmvr_jax.live.publisher import Publisher
from diffmvr_jax.media.addresses import is_rtsp, shown

_LOG = logging.getLogger("diffmvr.live")


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
    """Ends the stream."""
    ...


class VirtualCamera:
  """Shows frames as a camera of this machine, which other programs can open.

  Args:
    size: width and height of the frames.

  Raises:
    InputError: pyvirtualcam is not installed, or there is no such device.
  """

  def __init__(self, size: tuple[int, int]):
    # Programs take even sides; an odd last row or column is left out.
    self._size, self._even = size, (size[0] // 2 * 2, size[1] // 2 * 2)
    try:
      self._camera = _cameras().Camera(*self._even, 25)
    except (RuntimeError, OSError) as error:
      reason = " ".join(str(error).split())  # a line for each kind of camera
      raise InputError(
        f"no virtual camera can be opened ({reason}); docs/live.md says how to "
        "make one"
      ) from error

  def write(self, image: np.ndarray, seconds: float) -> None:
    """Shows a frame, see `Outlet`.

    Raises:
      InputError: its size is another one, or the device has gone.
    """
    del seconds
    if (image.shape[1], image.shape[0]) != self._size:
      raise InputError("the size of the frames has changed")
    width, height = self._even
    try:
      self._camera.send(np.ascontiguousarray(image[:height, :width]))
    except (RuntimeError, OSError) as error:
      reason = " ".join(str(error).split())
      raise InputError(f"the virtual camera broke off ({reason})") from error

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
  if is_rtsp(name):
    return lambda size: Publisher(name, size)
  raise InputError(f"--out {shown(name)}: expected rtsp://… or virtual-camera")


class Reopened:
  """An outlet that is opened again, after a pause, whenever it breaks off.

  It is written to in a thread, so that nobody has to wait for it. A frame that
  comes while an earlier one is still written takes the place of the one that
  waits.

  Args:
    open_outlet: opens it for frames of a size.
  """

  PAUSE = 5.0  # seconds

  def __init__(self, open_outlet: Callable[[tuple[int, int]], Outlet]):
    self._open = open_outlet
    self._outlet: Outlet | None = None
    self._next = 0.0
    self._complaint = ""
    self._place: Newest[tuple[np.ndarray, float]] = Newest()
    self._thread = threading.Thread(
      target=self._run, name="live-out", daemon=True
    )
    self._thread.start()

  def write(self, image: np.ndarray, seconds: float) -> None:
    """Passes a frame on if the outlet is there; never waits."""
    self._place.put((image, seconds))

  def close(self) -> None:
    """Ends the stream."""
    self._place.close()
    self._thread.join(timeout=2)

  def _run(self) -> None:
    while (item := self._place.take()) is not None:
      image, seconds = item
      if self._outlet is None:
        if time.monotonic() < self._next:
          continue
        self._next = time.monotonic() + self.PAUSE
      try:
        if self._outlet is None:
          self._outlet = self._open((image.shape[1], image.shape[0]))
        self._outlet.write(image, seconds)
        self._tell("")
      except (InputError, OSError) as error:
        self._tell(str(error))
        self._end()
    self._end()

  def _tell(self, complaint: str) -> None:
    """Tells the log what is new."""
    if complaint and complaint != self._complaint:
      _LOG.warning("--out: %s; it is opened again", complaint)
    elif self._complaint and not complaint:
      _LOG.warning("--out: frames are passed on")
    self._complaint = complaint

  def _end(self) -> None:
    outlet, self._outlet = self._outlet, None
    if outlet is not None:
      outlet.close()
