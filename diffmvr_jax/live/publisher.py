"""Sends a stream to an RTSP server, from a process of its own.

FFmpeg stops all of Python while it connects to a server, and goes on waiting if
that does not answer. So another process does it, and ends itself if it has to
wait for long. It reads frames on its standard input, and answers each with a
line: an empty one, or the reason why it ends.
"""

import faulthandler
import json
import os
import signal
import struct
import subprocess
import sys
from typing import BinaryIO

import numpy as np

from diffmvr_jax.errors import InputError
from diffmvr_jax.live.encoder import Encoder

_TIME = struct.Struct("<d")  # in front of each frame


class Publisher:
  """An `Outlet` that sends frames to an RTSP server.

  Args:
    address: of the server; other processes do not see it.
    size: width and height of the frames.
    patience: seconds that the server may take for one answer.
  """

  def __init__(
    self, address: str, size: tuple[int, int], patience: float = 10.0
  ):
    self._size, self._patience = size, patience
    self._process = subprocess.Popen(
      [sys.executable, "-m", "diffmvr_jax.live.publisher"],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
    )
    orders = {"address": address, "size": size, "patience": patience}
    try:
      self._send(json.dumps(orders).encode() + b"\n")
    except InputError:
      self.close()
      raise

  def write(self, image: np.ndarray, seconds: float) -> None:
    """Sends a frame, see `Outlet`.

    Raises:
      InputError: its size is another one, or the server is not there.
    """
    if (image.shape[1], image.shape[0]) != self._size:
      raise InputError("the size of the frames has changed")
    self._send(_TIME.pack(seconds) + image.tobytes())
    assert self._process.stdout is not None
    answer = self._process.stdout.readline()
    if answer != b"\n":
      raise InputError(answer.decode().strip() or self._silence())

  def close(self) -> None:
    """Ends the stream and the process."""
    self._process.communicate()  # it ends by itself, see `main`

  def _send(self, data: bytes) -> None:
    assert self._process.stdin is not None
    try:
      self._process.stdin.write(data)
      self._process.stdin.flush()
    except OSError:
      raise InputError(self._silence()) from None

  def _silence(self) -> str:
    return f"no answer within {self._patience:g} seconds"


def main() -> None:
  """Sends what comes on standard input to the server that it names."""
  # Ctrl-C ends the server, which closes standard input.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  source, answers = sys.stdin.buffer, sys.stdout.buffer
  orders = json.loads(source.readline())
  width, height = orders["size"]
  encoder = None
  with open(os.devnull, "w") as nowhere:
    try:
      while (head := source.read(_TIME.size)) and len(head) == _TIME.size:
        image = _frame(source, width, height)
        if image is None:
          break
        # Its thread ends the process even while FFmpeg holds Python.
        faulthandler.dump_traceback_later(
          orders["patience"], exit=True, file=nowhere
        )
        if encoder is None:
          encoder = Encoder(orders["address"], (width, height))
        encoder.write(image, *_TIME.unpack(head))
        faulthandler.cancel_dump_traceback_later()
        _answer(answers, "")
      faulthandler.dump_traceback_later(
        orders["patience"], exit=True, file=nowhere
      )
      if encoder is not None:
        encoder.close()
      faulthandler.cancel_dump_traceback_later()
    except InputError as error:
      _answer(answers, str(error))
    except Exception as error:
      _answer(answers, type(error).__name__)


def _frame(source: BinaryIO, width: int, height: int) -> np.ndarray | None:
  data = source.read(width * height * 3)
  if len(data) < width * height * 3:
    return None
  return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _answer(answers: BinaryIO, line: str) -> None:
  answers.write(line.encode() + b"\n")
  answers.flush()


if __name__ == "__main__":
  main()
