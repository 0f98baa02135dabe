"""What is watched: the browser's camera, or what the server itself opens."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from diffmvr_jax.errors import InputError
from diffmvr_jax.live.pipeline import Arrival
from diffmvr_jax.media.addresses import check_address, is_address, shown
from diffmvr_jax.media.sources import Source, open_source

BROWSER = "browser"
# Seconds until a source that broke off is opened again; the last one repeats.
_PAUSES = (0.5, 1.0, 2.0, 5.0)
_LOG = logging.getLogger("diffmvr.live")


@dataclass(frozen=True)
class Choice:
  """A source that the page offers.

  Attributes:
    name: as `open_source` takes it, or `browser`; viewers never get it, since
      paths and addresses may name people.
    label: what the page calls it.
  """

  name: str
  label: str

  @property
  def is_browser(self) -> bool:
    """Whether it is the camera of the browser that shows the page."""
    return self.name == BROWSER

  @property
  def is_live(self) -> bool:
    """Whether it gives frames at its own pace, and not as fast as one reads."""
    return self.name.startswith("camera:") or is_address(self.name)


def choices(names: list[str]) -> list[Choice]:
  """Returns the sources with labels that tell nothing of the paths.

  Example:
    >>> [choice.label for choice in choices(["camera:0", "browser", "a.mp4"])]
    ['camera 0', "this browser's camera", 'file 1']
  """
  found, counts = [], {"file": 0, "network camera": 0}
  for name in names:
    if name == BROWSER:
      label = "this browser's camera"
    elif name.startswith("camera:"):
      label = f"camera {name.removeprefix('camera:')}"
    else:
      kind = "network camera" if is_address(name) else "file"
      counts[kind] += 1
      label = f"{kind} {counts[kind]}"
    found.append(Choice(name, label))
  return found


def check_source(name: str) -> None:
  """Refuses what can never be watched.

  A camera or an address may begin to answer later; that is waited for.

  Raises:
    InputError: a camera without a number, standard input, an address of an
      unknown kind or of a file, or a file that is not there or is no video.
  """
  if name == BROWSER:
    return
  if name.lower().startswith("file://"):
    raise InputError(f"{name}: name the file itself, without file://")
  if is_address(name):
    check_address(name)
  elif name.startswith("camera:"):
    if not name.removeprefix("camera:"):
      raise InputError(f"{name}: expected camera:INDEX")
  elif name in ("", "-"):
    raise InputError(f"--source {name!r}: name a camera, an address or a file")
  else:
    open_source(name)


class Feed:
  """Reads a source in a thread, and opens it again if it breaks off.

  A file is played at its own speed, again and again.

  Args:
    choice: the source.
    take: is called with each frame.
    tell: is called with True once frames come, and with False if they do not.
  """

  def __init__(
    self,
    choice: Choice,
    take: Callable[[Arrival], None],
    tell: Callable[[bool], None],
  ):
    self._choice, self._take, self._tell = choice, take, tell
    self._over = threading.Event()
    self._lock = threading.Lock()  # nothing is taken or told after `close`
    self._source: Source | None = None
    self._complaint = ""
    self._thread = threading.Thread(
      target=self._run, name="live-feed", daemon=True
    )
    self._thread.start()

  def close(self) -> None:
    """Ends the thread; one that waits for an answer ends by itself later."""
    with self._lock:
      self._over.set()
      if self._source is not None:
        self._source.stop()
    self._thread.join(timeout=0.5)

  def _run(self) -> None:
    failures = 0
    while not self._over.is_set():
      frames, why = 0, "it has ended"
      try:
        for _ in self._played():
          frames += 1
          if frames == 1:
            self._say_arriving(True)
      except (InputError, OSError) as error:
        why = self._without_name(str(error))
      except Exception as error:  # nobody could open it again
        why = type(error).__name__
      if self._source is not None and self._source.complaint is not None:
        why = self._without_name(self._source.complaint)
      if frames and not self._choice.is_live:
        continue
      self._say_arriving(False, why)
      failures = 0 if frames else failures + 1
      self._over.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])

  def _played(self):
    """Yields after each frame that was taken."""
    self._source = None
    source = open_source(self._choice.name, any_size=True)
    with self._lock:
      self._source = source
      if self._over.is_set():
        source.stop()
    start, first = time.monotonic(), None
    try:
      for frame in source.frames:
        if not self._choice.is_live:
          first = frame.pts if first is None else first
          due = start + float((frame.pts - first) * source.info.time_base)
          self._over.wait(max(due - time.monotonic(), 0))
        with self._lock:
          if self._over.is_set():
            return
          self._take(Arrival(frame.image, time.monotonic()))
        yield
    finally:
      close = getattr(source.frames, "close", None)
      if close is not None:
        close()

  def _say_arriving(self, arriving: bool, why: str = "") -> None:
    """Tells the session, and the log when it is news."""
    with self._lock:
      if self._over.is_set():
        return
      self._tell(arriving)
    if why and why != self._complaint:
      _LOG.warning("%s: %s; it is opened again", self._choice.label, why)
    elif arriving and self._complaint:
      _LOG.warning("%s: frames come", self._choice.label)
    self._complaint = why

  def _without_name(self, error: str) -> str:
    """Says what is wrong, without the name of the file or the address."""
    if not self._choice.is_live:
      return "cannot be read"
    return error.replace(shown(self._choice.name), "").lstrip(": ")
