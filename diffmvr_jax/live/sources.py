"""What is watched: the browser's camera, or what the server itself opens."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from diffmvr_jax.errors import InputError
from diffmvr_jax.live.pipeline import Arrival
from diffmvr_jax.media.sources import check_address, open_source

BROWSER = "browser"
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# Seconds until a source that broke off is opened again; the last one repeats.
_PAUSES = (0.5, 1.0, 2.0, 5.0)


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
    return self.name.startswith("camera:") or bool(_URL.match(self.name))


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
      kind = "network camera" if _URL.match(name) else "file"
      counts[kind] += 1
      label = f"{kind} {counts[kind]}"
    found.append(Choice(name, label))
  return found


def check_source(name: str) -> None:
  """Refuses what can never be watched.

  A camera or an address may begin to answer later; that is waited for.

  Raises:
    InputError: a camera without a number, standard input, an address of an
      unknown kind, or a file that is not there or is no video.
  """
  if name == BROWSER:
    return
  if _URL.match(name):
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
    self._thread = threading.Thread(
      target=self._run, name="live-feed", daemon=True
    )
    self._thread.start()

  def close(self) -> None:
    """Ends the thread."""
    self._over.set()
    self._thread.join(timeout=5)

  def _run(self) -> None:
    failures = 0
    while not self._over.is_set():
      frames = 0
      try:
        for _ in self._played():
          frames += 1
          if frames == 1:
            self._tell(True)
          if self._over.is_set():
            return
      except (InputError, OSError):
        pass  # it is opened again; the page says that nothing comes
      if frames and not self._choice.is_live:
        continue
      self._tell(False)
      failures = 0 if frames else failures + 1
      self._over.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])

  def _played(self):
    """Yields after each frame that was taken."""
    source = open_source(self._choice.name)
    start, first = time.monotonic(), None
    try:
      for frame in source.frames:
        if not self._choice.is_live:
          first = frame.pts if first is None else first
          due = start + float((frame.pts - first) * source.info.time_base)
          if self._over.wait(max(due - time.monotonic(), 0)):
            return
        self._take(Arrival(frame.image, time.monotonic()))
        yield
    finally:
      close = getattr(source.frames, "close", None)
      if close is not None:
        close()
