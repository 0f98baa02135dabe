"""Videos that are uploaded, restored, and downloaded; nothing stays.

Each has a folder of its own inside a private one. It goes when the result has
been fetched or given up, an hour after that at the latest, and when the server
ends.
"""

import errno
import queue
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.live.meter import Meter
from diffmvr_jax.media.sources import open_source
from diffmvr_jax.media.video import TimedFrame
from diffmvr_jax.runtime.cpu_memory import return_memory

_MOST = 4  # videos that wait or are restored
_KEPT = 3600.0  # seconds
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_DAMAGED = "the video is damaged"
# How files of the common containers begin. Playlists, which would make FFmpeg
# read other files, are not among them.
_BEGINNINGS = (
  (4, b"ftyp"),
  (4, b"moov"),
  (4, b"mdat"),
  (4, b"wide"),
  (0, b"\x1aE\xdf\xa3"),
  (8, b"AVI "),
  (0, b"\x00\x00\x01\xba"),
  (0, b"G"),  # MPEG-TS, GIF
  (0, b"FLV"),
  (0, b"0&\xb2u"),
  (0, b"OggS"),
  (0, b"\x06\x0e+4"),
)


class TooLargeError(InputError):
  """An upload is larger than the server takes."""


class TooManyError(InputError):
  """So many videos wait already that no other one is taken."""


@dataclass
class Upload:
  """A video on its way.

  Attributes:
    folder: holds its files.
    state: how far it is.
    frames: number of frames that were read.
    total: how many there will be; 0 if that is not known.
    complaint: why it failed.
    ended: is set once it is done or has failed.
  """

  folder: Path
  state: Literal["uploading", "waiting", "running", "done", "failed"] = (
    "uploading"
  )
  frames: int = 0
  total: int = 0
  complaint: str = ""
  begun: float = field(default_factory=time.monotonic)
  cancelled: bool = False
  ended: threading.Event = field(default_factory=threading.Event)

  @property
  def source(self) -> Path:
    """The file that was uploaded."""
    return self.folder / "upload"

  @property
  def result(self) -> Path:
    """The restored file."""
    return self.folder / "restored.mp4"


class Uploads:
  """Takes videos, and restores them one after the other.

  Args:
    restorer: restores them.
    meter: counts them.
    largest: bytes of a video at most.
  """

  def __init__(self, restorer: Restorer, meter: Meter, largest: int):
    self._restorer, self._meter, self._largest = restorer, meter, largest
    self._folder = Path(tempfile.mkdtemp(prefix="diffmvr-live-"))  # 0700
    self._uploads: dict[str, Upload] = {}
    self._waiting: queue.Queue[Upload | None] = queue.Queue()
    self._worker = threading.Thread(
      target=self._run, name="live-uploads", daemon=True
    )
    self._worker.start()

  async def take(self, chunks: AsyncIterator[bytes], length: int | None) -> str:
    """Stores an upload, and lets it wait for its restoration.

    Args:
      chunks: the file.
      length: its length in bytes, if it was announced.

    Returns:
      A name that nobody can guess.

    Raises:
      TooLargeError: it is too large.
      TooManyError: too many wait.
      InputError: it is not a video.
    """
    self._forget_old()
    busy = [u for u in self._uploads.values() if not u.ended.is_set()]
    if len(busy) >= _MOST:
      raise TooManyError("too many videos wait; try again later")
    if length is not None and length > self._largest:
      raise self._too_large()
    name = secrets.token_urlsafe(16)
    upload = Upload(self._folder / name)
    self._uploads[name] = upload
    try:
      upload.folder.mkdir()
      await self._store(chunks, upload.source)
      upload.state = "waiting"
    except BaseException as error:
      outcome = "too large" if isinstance(error, TooLargeError) else "refused"
      self._meter.uploads.labels(outcome).inc()
      self.forget(name)
      raise
    self._waiting.put(upload)
    return name

  async def _store(self, chunks: AsyncIterator[bytes], path: Path) -> None:
    size, beginning = 0, b""
    with path.open("wb") as file:
      async for chunk in chunks:
        size += len(chunk)
        if size > self._largest:
          raise self._too_large()
        if len(beginning) < 16:
          beginning = (beginning + chunk)[:16]
        file.write(chunk)
    if not any(beginning[i:].startswith(x) for i, x in _BEGINNINGS):
      raise InputError("this is not a video")

  def _too_large(self) -> TooLargeError:
    return TooLargeError(
      f"videos may have up to {self._largest // 2**20} MiB here"
    )

  def get(self, name: str) -> Upload:
    """Returns an upload.

    Raises:
      KeyError: there is none of this name.
    """
    return self._uploads[name]

  def forget(self, name: str) -> None:
    """Deletes an upload and its result; stops its restoration."""
    upload = self._uploads.pop(name, None)
    if upload is not None:
      upload.cancelled = True
      shutil.rmtree(upload.folder, ignore_errors=True)

  def new_file(self) -> Path:
    """Returns the path of a new file in the private folder."""
    return self._folder / f"{secrets.token_urlsafe(8)}.mp4"

  def close(self) -> None:
    """Ends the thread, and empties the private folder."""
    for name in list(self._uploads):
      self.forget(name)
    self._waiting.put(None)
    self._worker.join(timeout=10)
    shutil.rmtree(self._folder, ignore_errors=True)

  def _forget_old(self) -> None:
    now = time.monotonic()
    for name, upload in list(self._uploads.items()):
      if upload.ended.is_set() and now - upload.begun > _KEPT:
        self.forget(name)

  def _run(self) -> None:
    while (upload := self._waiting.get()) is not None:
      if upload.cancelled:
        continue
      upload.state = "running"
      try:
        self._restore(upload)
        upload.state, outcome = "done", "restored"
      except InputError as error:
        named = str(error).replace(str(upload.source), "the video")
        upload.state, upload.complaint = "failed", named
        outcome = "cancelled" if upload.cancelled else "failed"
      except OSError as error:
        disk = error.errno in _OF_THE_DISK
        upload.complaint = (
          f"the server's disk: {error.strerror}" if disk else _DAMAGED
        )
        upload.state, outcome = "failed", "failed"
      except Exception:  # whatever a decoder does to a hostile file
        upload.state, upload.complaint = "failed", _DAMAGED
        outcome = "failed"
      upload.source.unlink(missing_ok=True)
      self._meter.uploads.labels(outcome).inc()
      upload.ended.set()
      return_memory()

  def _restore(self, upload: Upload) -> None:
    source = open_source(upload.source)
    upload.total = source.estimate

    def counted(frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
      for frame in frames:
        if upload.cancelled:
          raise InputError("cancelled")
        upload.frames += 1
        yield frame

    source.frames = counted(source.frames)
    self._restorer.video(source, upload.result)
