"""What can be restored: a video, a folder of pictures, raw frames, a camera.

A damaged recording is an error. A live source that breaks off simply ends:
what came before is restored, and `Source.complaint` says what happened.
"""

import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import av
import av.error
import numpy as np
from av.video.stream import VideoStream

from diffmvr_jax.errors import InputError
from diffmvr_jax.media import video
from diffmvr_jax.media.addresses import is_address, is_rtsp, shown
from diffmvr_jax.media.pictures import read_picture
from diffmvr_jax.media.video import TimedFrame, VideoInfo

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
# So many frames of a live source may wait; then the oldest one is dropped.
_LIVE_QUEUE = 8
_SILENCE = 10.0  # seconds after which a live source has broken off
_NO_ANSWER = f"no answer within {_SILENCE:.0f} seconds"
_MOST_DAMAGED = 100  # packets without a frame between them
_LIVE_ERRORS = (
  av.error.FFmpegError,
  OSError,
  ValueError,  # of a format of pixels, say
  IndexError,
  StopIteration,
)
_CAMERAS = {
  "linux": ("v4l2", "/dev/video{}"),
  "darwin": ("avfoundation", "{}"),
  "win32": ("dshow", "video={}"),
}


@dataclass(kw_only=True)
class Source:
  """Frames, and what is known of them.

  Attributes:
    name: name of the source, for messages; an address is `shown`.
    info: size, frame rate, time base and colours.
    frames: the frames in order; they can be read once.
    estimate: how many frames there will be; 0 if that is not known.
    streams: a file whose audio and subtitles belong to the frames.
    dropped: how many frames of a live source came too fast, so far.
    complaint: why a live source ended early, once it has.
    stop: ends a live source before its next frame; any thread may call it.
  """

  name: str
  info: VideoInfo
  frames: Iterator[TimedFrame]
  estimate: int = 0
  streams: Path | None = None
  dropped: int = 0
  complaint: str | None = None
  stop: Callable[[], None] = lambda: None


def open_source(
  name: str | Path,
  *,
  fps: Fraction | None = None,
  size: tuple[int, int] | None = None,
  any_size: bool = False,
) -> Source:
  """Opens what a name stands for.

  Args:
    name: a video file; a folder of pictures, in the order of the numbers in
      their names; `-`, raw RGB frames (8 bit, rows from the top) on standard
      input; `camera:INDEX`; or a URL that FFmpeg reads, `rtsp://…`.
    fps: frames per second of pictures and raw frames; None means 25.
    size: width and height of raw frames.
    any_size: whether a live source goes on if the size of its frames changes,
      and does not end there.

  Raises:
    InputError: there is no such source, or it cannot be read.
  """
  text = str(name)
  if text == "-":
    return _raw(size, fps or Fraction(25))
  if text.startswith("camera:"):
    return _camera(text, any_size)
  if is_address(text):
    return _live(text, text, None, any_size)
  path = Path(name)
  if path.is_dir():
    return _pictures(path, fps or Fraction(25))
  return Source(
    name=text,
    info=(info := video.probe(path)),
    frames=_checked_size(text, info, video.read_frames(path)),
    estimate=video.frame_estimate(path),
    streams=path,
  )


def _checked_size(
  name: str, info: VideoInfo, frames: Iterator[TimedFrame]
) -> Iterator[TimedFrame]:
  for index, frame in enumerate(frames):
    height, width = frame.image.shape[:2]
    if (width, height) != (info.width, info.height):
      raise InputError(
        f"{name}: frame {index} is {width}x{height}, those before it are "
        f"{info.width}x{info.height}; split it there"
      )
    yield frame


def _info(size: tuple[int, int], fps: Fraction) -> VideoInfo:
  return VideoInfo(
    width=size[0],
    height=size[1],
    fps=fps,
    time_base=1 / fps,
    has_audio=False,
  )


def image_files(folder: Path) -> list[Path]:
  """Returns a folder's pictures, in the order of the numbers in their names."""

  def key(path: Path) -> list[tuple[int, int, str]]:
    # frame_9 comes before frame_10.
    return [
      (0, int(part), "") if part.isdigit() else (1, 0, part)
      for part in re.split(r"(\d+)", path.stem)
    ]

  pictures = (p for p in folder.iterdir() if p.suffix.lower() in IMAGES)
  return sorted(pictures, key=key)


def _pictures(folder: Path, fps: Fraction) -> Source:
  files = image_files(folder)
  if not files:
    raise InputError(f"{folder}: no picture in this folder")
  height, width = read_picture(files[0]).shape[:2]

  def frames() -> Iterator[TimedFrame]:
    for index, path in enumerate(files):
      image = read_picture(path)
      if image.shape[:2] != (height, width):
        raise InputError(
          f"{path}: is {image.shape[1]}x{image.shape[0]}, {files[0].name} is "
          f"{width}x{height}"
        )
      yield TimedFrame(image, index)

  return Source(
    name=str(folder),
    info=_info((width, height), fps),
    frames=frames(),
    estimate=len(files),
  )


def _raw(size: tuple[int, int] | None, fps: Fraction) -> Source:
  if size is None:
    raise InputError("-: raw frames need --size WIDTHxHEIGHT")
  width, height = size
  length = width * height * 3
  source = Source(
    name="standard input",
    info=_info(size, fps),
    frames=iter(()),
  )

  def frames() -> Iterator[TimedFrame]:
    index = 0
    while data := _read_input(length):
      if len(data) < length:
        source.complaint = (
          f"standard input: ends within frame {index}, after {len(data)} of "
          f"its {length} bytes"
        )
        return
      image = np.frombuffer(data, np.uint8).reshape(height, width, 3)
      yield TimedFrame(image, index)
      index += 1

  source.frames = frames()
  return source


def _read_input(length: int) -> bytes:
  if sys.stdin is None:
    raise InputError("-: standard input is closed")
  try:
    return sys.stdin.buffer.read(length)
  except OSError as error:
    raise InputError(f"-: cannot be read ({error.strerror})") from error


def _camera(name: str, any_size: bool) -> Source:
  index = name.removeprefix("camera:")
  if sys.platform not in _CAMERAS or not index:
    raise InputError(f"{name}: expected camera:INDEX, on Linux, macOS, Windows")
  form, pattern = _CAMERAS[sys.platform]
  return _live(name, pattern.format(index), form, any_size)


@dataclass
class _LiveQueue:
  """Hands frames from one thread to another; drops the oldest if it is full."""

  waiting: deque[TimedFrame] = field(default_factory=deque)
  changed: threading.Condition = field(default_factory=threading.Condition)
  closed: bool = False

  def put(self, frame: TimedFrame) -> bool:
    """Adds a frame, and returns whether an older one was dropped for it."""
    with self.changed:
      full = len(self.waiting) == _LIVE_QUEUE
      if full:
        self.waiting.popleft()
      self.waiting.append(frame)
      self.changed.notify()
    return full

  def close(self) -> None:
    with self.changed:
      self.closed = True
      self.changed.notify()

  def __iter__(self) -> Iterator[TimedFrame]:
    while True:
      with self.changed:
        self.changed.wait_for(lambda: self.waiting or self.closed)
        if not self.waiting:
          return
        frame = self.waiting.popleft()
      yield frame


def _live(name: str, address: str, form: str | None, any_size: bool) -> Source:
  name, container, begun = shown(name), None, time.monotonic()
  try:
    container = av.open(
      address, format=form, timeout=_SILENCE, options=_network_options(address)
    )
    stream = container.streams.video[0]
    frames = _undamaged(container, stream)
    first = next(frames)
  except _LIVE_ERRORS as error:
    if container is not None:
      container.close()
    # FFmpeg's own text holds the address, and its password. If it is stopped
    # while it waits, it may call the answer invalid.
    late = time.monotonic() - begun >= _SILENCE
    reason = _NO_ANSWER if late else _reason(error)
    raise InputError(f"{name}: cannot be read ({reason})") from None
  height, width = first.image.shape[:2]
  info = VideoInfo(
    width=width,
    height=height,
    fps=video.frame_rate(stream),
    time_base=video.time_base(stream) or Fraction(1, 1000),
    has_audio=False,
  )
  queue = _LiveQueue()
  source = Source(name=name, info=info, frames=iter(()), stop=queue.close)

  def receive() -> None:
    try:
      for frame in chain([first], frames):
        if queue.closed:
          return
        if not any_size and frame.image.shape != first.image.shape:
          source.complaint = f"{name}: broke off (the frames' size has changed)"
          return
        # A camera counts from when it was switched on.
        from_start = TimedFrame(frame.image, frame.pts - first.pts)
        source.dropped += queue.put(from_start)
    except _LIVE_ERRORS as error:
      source.complaint = f"{name}: broke off ({_reason(error)})"
    finally:
      queue.close()
      container.close()

  def received() -> Iterator[TimedFrame]:
    threading.Thread(target=receive, daemon=True).start()
    try:
      with _calling_on_interrupt(queue.close):
        yield from queue
    finally:
      queue.close()

  source.frames = received()
  return source


def _undamaged(container: Any, stream: VideoStream) -> Iterator[TimedFrame]:
  """Yields the frames, without those that were damaged on their way."""
  damaged = 0  # one after the other
  while True:
    try:
      for frame in video.decoded(container, stream):
        damaged = 0
        yield frame
      return
    except av.error.InvalidDataError:
      damaged += 1
      if damaged > _MOST_DAMAGED:
        raise


def _network_options(address: str) -> dict[str, str]:
  """FFmpeg's options for an address.

  FFmpeg asks RTSP cameras for UDP first, and waits for ever if a firewall keeps
  the packets away; over TCP none is lost either. A camera that refuses TCP is
  asked for UDP.
  """
  return {"rtsp_flags": "prefer_tcp"} if is_rtsp(address) else {}


def _reason(error: Exception) -> str:
  """Says why a live source fails, without its address."""
  if isinstance(error, av.error.ExitError):
    return _NO_ANSWER
  if isinstance(error, (IndexError, StopIteration)):
    return "there is no picture in it"
  return getattr(error, "strerror", None) or type(error).__name__


@contextmanager
def _calling_on_interrupt(action: Callable[[], None]) -> Iterator[None]:
  """Lets the first Ctrl-C call `action`; a second one interrupts as usual."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = signal.getsignal(signal.SIGINT)

  def stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    signal.signal(signal.SIGINT, before)
    action()

  signal.signal(signal.SIGINT, stop)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, before)
