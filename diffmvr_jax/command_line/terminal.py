"""What commands write to the terminal: our own lines, and how far they are."""

import argparse
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tqdm import tqdm

# Worker processes inherit it.
_VERBOSE = "DIFFMVR_VERBOSE"
_STDERR = 2
# Notices and warnings of TensorFlow Lite and of Google's logger; not errors.
_CHATTER = re.compile(rb"(INFO|WARNING): |[IW]\d{4} \d\d:\d\d:")
_SECONDS = 10.0  # between two lines where no bar can be drawn


def add_verbose_option(parser: argparse.ArgumentParser) -> None:
  """Adds `--verbose`, with which `without_chatter` hides nothing."""
  parser.add_argument(
    "--verbose",
    action=_BeVerbose,
    nargs=0,
    help="also show the notices of MediaPipe",
  )


class _BeVerbose(argparse.Action):
  def __call__(self, parser, namespace, values, option_string=None):
    del parser, namespace, values, option_string
    os.environ[_VERBOSE] = "1"


class _Filter:
  """Takes what is written to descriptor 2, and passes on all but chatter."""

  def __init__(self):
    self._lock = threading.Lock()
    self._users = 0
    self._opened = ExitStack()

  def start(self) -> None:
    """Begins, unless another thread has begun."""
    with self._lock:
      self._users += 1
      if self._users > 1:
        return
      sys.stderr.flush()
      caught = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)
      self._opened.enter_context(caught)
      self._opened.callback(_pass_on, caught)
      self._opened.callback(_lead_to, os.dup(_STDERR))
      os.dup2(caught.fileno(), _STDERR)

  def stop(self) -> None:
    """Ends, unless another thread still needs it."""
    with self._lock:
      self._users -= 1
      if not self._users:
        sys.stderr.flush()
        self._opened.close()


def _lead_to(descriptor: int) -> None:
  os.dup2(descriptor, _STDERR)
  os.close(descriptor)


def _pass_on(caught: Any) -> None:
  caught.seek(0)
  lines = [line for line in caught if not _CHATTER.match(line)]
  if lines:
    os.write(_STDERR, b"".join(lines))


_filter = _Filter()


@contextmanager
def without_chatter() -> Iterator[None]:
  """Hides the notices that C++ code writes to file descriptor 2 meanwhile.

  MediaPipe has no setting for that. Everything else that is written meanwhile,
  by any thread, appears when the block ends.
  """
  if os.environ.get(_VERBOSE):
    yield
    return
  _filter.start()
  try:
    yield
  finally:
    _filter.stop()


def note(line: str) -> None:
  """Writes a line to stderr, above the progress bar if one is drawn."""
  tqdm.write(line, file=sys.stderr)


def progress_bar(
  items: Iterable[Any] | None = None, **options: Any
) -> "tqdm[Any]":
  """Shows on stderr how far a command is.

  On a terminal a bar is drawn. Elsewhere, as in a log file, there is a line
  every ten seconds, and one at the end if it took longer than that.

  Args:
    items: what is iterated over; None if `update` is called.
    options: those of tqdm: `total`, `initial`, `unit`, `desc`, `leave`,
      `disable`.

  Example:
    >>> sum(progress_bar([1, 2], unit="frame"))
    3
  """
  if sys.stderr.isatty():
    return tqdm(items, file=sys.stderr, dynamic_ncols=True, **options)
  return tqdm(
    items,
    file=_Lines(sys.stderr),
    mininterval=_SECONDS,
    miniters=1,
    delay=_SECONDS,
    **options,
  )


class _Lines:
  """Takes what tqdm draws in place, and writes it as lines.

  Args:
    stream: where the lines go.
  """

  def __init__(self, stream: Any):
    self._stream = stream

  def write(self, text: str) -> None:
    text = text.strip("\r\n ")
    if text:
      self._stream.write(text + "\n")

  def flush(self) -> None:
    self._stream.flush()
