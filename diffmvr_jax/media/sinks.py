"""Where restored frames go: a video, a folder of PNGs, or a pipe."""

import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import make_folder, replacing, writing
from diffmvr_jax.media.video import TimedFrame, VideoInfo
from diffmvr_jax.media.video_writer import VideoWriter


@runtime_checkable
class Sink(AbstractContextManager, Protocol):
  """Takes frames in order; a context manager, complete once it is left."""

  def write(self, timed: TimedFrame) -> None:
    """Adds one frame."""
    ...


def open_sink(name: str | Path, info: VideoInfo, **options: Any) -> Sink:
  """Opens what a name stands for.

  Args:
    name: a video file; a name without a suffix for a folder of PNG files; or
      `-` for raw RGB frames on standard output.
    info: size, frame rate and time base of the frames.
    options: arguments of `VideoWriter`, for a video file.

  Raises:
    InputError: files of this kind cannot be written, or the folder is not
      empty.
  """
  if str(name) == "-":
    return RawWriter()
  if not Path(name).suffix:
    return FolderWriter(Path(name))
  return VideoWriter(name, info, **options)


class FolderWriter:
  """PNG files, `frame_000000.png` and so on; all of them or none.

  Args:
    folder: the folder to write; it must not exist, or must be empty.

  Raises:
    InputError: the folder is not empty.
  """

  def __init__(self, folder: Path):
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
      raise InputError(f"{folder}: exists; name a new folder, or empty it")
    self._folder, self._count = folder, 0
    make_folder(folder.parent)
    with ExitStack() as stack:
      self._partial = stack.enter_context(replacing(folder))
      with writing(folder):
        self._partial.mkdir()
      self._opened = stack.pop_all()

  def __enter__(self) -> "FolderWriter":
    return self

  def write(self, timed: TimedFrame) -> None:
    """Writes the next file.

    Raises:
      OSError: the disk does not take it; names the folder.
    """
    _, data = cv2.imencode(".png", cv2.cvtColor(timed.image, cv2.COLOR_RGB2BGR))
    path = self._partial / f"frame_{self._count:06d}.png"
    with writing(self._folder):
      path.write_bytes(data.tobytes())
    self._count += 1

  def __exit__(self, *exception) -> bool | None:
    return self._opened.__exit__(*exception)


class RawWriter:
  """Raw frames on standard output: 8-bit RGB, rows from the top."""

  def __enter__(self) -> "RawWriter":
    return self

  def write(self, timed: TimedFrame) -> None:
    """Writes one frame, and flushes it.

    Raises:
      InputError: the reading process has ended, or there is no standard output.
      OSError: the disk that it leads to is full.
    """
    if sys.stdout is None:
      raise InputError("-: standard output is closed")
    try:
      with writing("standard output"):
        sys.stdout.buffer.write(np.ascontiguousarray(timed.image).tobytes())
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
      raise InputError("-: the reader of standard output has gone") from error

  def __exit__(self, kind, value, traceback) -> None:
    pass
