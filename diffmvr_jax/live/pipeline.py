"""Restores a live stream: stages in threads, the newest frame first.

  frames ─► decode ─► find ─► crop ─► propagate ─► restore ─► encode

Each arrow leads to another thread, which works at the next frame meanwhile. A
frame that comes while `IN_FLIGHT` others are on their way waits at the door,
where a newer one takes its place. Whatever has come in goes out, in order. If
covered frames come out late, the networks fill fewer of them (`Pace`).
"""

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from PIL import Image

from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import RestoredFrame, StreamOptions
from diffmvr_jax.live.newest import Newest
from diffmvr_jax.media.ahead import ahead
from diffmvr_jax.media.video import TimedFrame

# Two cores are busy with so many, and a frame never waits long behind others.
IN_FLIGHT = 3
# Larger frames are shrunk, so that one viewer cannot fill the memory.
LONGEST_SIDE = 1920
_MOST_PIXELS = 4096 * 4096  # of a JPEG file; few bytes can stand for many
_LOG = logging.getLogger("diffmvr.live")
_TICKS = 1_000_000  # per second
_PATIENCE = 0.2  # seconds after which the door looks whether it is closed


@dataclass(frozen=True)
class Arrival:
  """A frame as it came.

  Attributes:
    picture: (h, w, 3) uint8, or the bytes of a JPEG file.
    time: when it came, in seconds of `time.monotonic`.
  """

  picture: np.ndarray | bytes
  time: float


class Pipeline:
  """Restores the frames of one source as they come.

  Args:
    restorer: its recipe's `lookahead` must be 0.
    show: is called with each restored frame and the time when that frame came,
      by the last thread, and encodes it.
    dropped: is called whenever a frame was too late.

  Attributes:
    pace: how rarely covered frames are looked at closely, at the moment.

  Example:
    >>> pipeline = Pipeline(restorer, show, dropped)  # doctest: +SKIP
    >>> pipeline.put(Arrival(frame, time.monotonic()))  # doctest: +SKIP
  """

  def __init__(
    self,
    restorer: Restorer,
    show: Callable[[RestoredFrame, float], None],
    dropped: Callable[[], None],
  ):
    self._restorer, self._show, self._dropped = restorer, show, dropped
    self._door: Newest[Arrival] = Newest()
    self._free = threading.Semaphore(IN_FLIGHT)
    self._size: tuple[int, ...] | None = None
    self._start = time.monotonic()
    self.pace = restorer.pace()
    self.complaint: str | None = None
    self.failed_at: float | None = None
    self._thread = threading.Thread(
      target=self._run, name="live-encode", daemon=True
    )
    self._thread.start()

  def put(self, arrival: Arrival) -> None:
    """Takes a frame; never waits. A frame that waited is dropped for it."""
    if self._door.put(arrival):
      self._dropped()

  def close(self) -> None:
    """Ends all threads; frames on their way are not shown."""
    self._door.close()
    if threading.current_thread() is not self._thread:
      self._thread.join(timeout=10)

  @property
  def running(self) -> bool:
    """Whether frames are still taken."""
    return self._thread.is_alive() and not self._door.closed

  def _run(self) -> None:
    try:
      frames = ahead(self._decoded())
      observed = self._restorer.observe(
        frames, Fraction(1, _TICKS), pace=self.pace
      )
      restored = self._restorer.fill(ahead(observed), StreamOptions(latency=0))
      for done in ahead(restored):
        if self._door.closed:
          break
        came = self._start + done.source.pts / _TICKS
        self._show(done, came)
        if done.alpha is not None:
          self.pace.notice(time.monotonic() - came)
        self._free.release()
    except Exception as error:
      # Its text may hold a path.
      _LOG.error("the restoration failed: %s", type(error).__name__)
      self.complaint = "the restoration failed"
      self.failed_at = time.monotonic()
    finally:
      self._door.close()

  def _decoded(self) -> Iterator[TimedFrame]:
    while not self._door.closed:
      if not self._free.acquire(timeout=_PATIENCE):
        continue
      image = None
      while image is None:
        arrival = self._door.take()
        if arrival is None:  # closed
          return
        image = _decoded(arrival.picture)
        if image is None or not self._fits(image):
          self._dropped()
          image = None
      ticks = round((arrival.time - self._start) * _TICKS)
      yield TimedFrame(image, ticks)

  def _fits(self, image: np.ndarray) -> bool:
    """Whether a frame is as large as those before it."""
    if self._size is None:
      self._size = image.shape
    if self._size != image.shape:
      self.complaint = "the size of the frames has changed"
      self._door.close()
      return False
    return True


def _decoded(picture: np.ndarray | bytes) -> np.ndarray | None:
  """Returns (h, w, 3) uint8 RGB; None if it is no JPEG, or a very large one."""
  if isinstance(picture, bytes):
    if not _is_sound(picture):
      return None
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
      return None
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
  else:
    image = picture
  longest = max(image.shape[:2])
  if longest <= LONGEST_SIDE:
    return image
  scale = LONGEST_SIDE / longest
  return cv2.resize(
    image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
  )


def _is_sound(picture: bytes) -> bool:
  """Whether it begins like a JPEG file that can be held in memory."""
  try:
    with Image.open(io.BytesIO(picture), formats=["JPEG"]) as header:
      return header.width * header.height <= _MOST_PIXELS
  # Ultralytics, once it is imported, looks for a package that reads HEIF.
  except (OSError, ValueError, ImportError, Image.DecompressionBombError):
    return False
