"""Runs the live server under bad luck, and looks whether it stays the same.

  python -m launch.soak [--seconds 3600] [--out runs/soak]

Frames come at 25 per second. Pages come and go, the camera dies and returns,
pictures are broken, and videos that are uploaded are damaged or too large.
Ends with code 1 if memory grows, if a thread or an open file is left, or if
the latency's 95th percentile is higher at the end than at the start.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffmvr_jax.command_line.arguments import ArgumentParser, number, whole
from diffmvr_jax.command_line.bounds import Bounds
from diffmvr_jax.errors import InputError, run_command
from launch.live_clip import FPS, covered, jpeg, pictures

_SAMPLES = 12  # looks at the server
_DURATION = Bounds(1, 10**7)  # seconds
_GROWTH = 1.1  # of the memory, from the second third to the last
_SLOWER = 1.25  # of the 95th percentile, likewise
_BROKEN = b"\0\0\0\x18ftypmp42" + b"\0" * 2000


@dataclass
class Look:
  """What the server's process held at one time.

  Attributes:
    memory: resident, in MiB.
    threads: their number.
    files: number of open descriptors.
    latency: 95th percentile since the look before, in milliseconds.
  """

  memory: float
  threads: int
  files: int
  latency: float


@dataclass
class Soak:
  """Everything that troubles one server.

  Attributes:
    address: of the server, `127.0.0.1:PORT`.
    frames: JPEG files for the camera.
    over: is set at the end.
    latencies: of the frames that the steady viewer saw, in milliseconds.
  """

  address: str
  frames: list[bytes]
  over: threading.Event = field(default_factory=threading.Event)
  latencies: list[float] = field(default_factory=list)

  def film(self) -> None:
    """Is the camera; it dies after 40 seconds, and is back after 3."""
    number = 0
    while not self.over.is_set():
      with _connect(f"ws://{self.address}/camera") as socket:
        start = time.monotonic()
        while time.monotonic() - start < 40 and not self.over.is_set():
          frame = self.frames[number % len(self.frames)]
          broken = number % 500 == 499
          socket.send(frame[: len(frame) // 3] if broken else frame)
          number += 1
          self.over.wait(1 / FPS)
      self.over.wait(3)

  def watch(self, seconds: float | None = None) -> None:
    """Is a page; the one that stays notes the latencies."""
    start = time.monotonic()
    with _connect(f"ws://{self.address}/watch", max_size=None) as socket:
      while not self.over.is_set():
        if seconds is not None and time.monotonic() - start > seconds:
          return
        message = socket.recv(timeout=30)
        if isinstance(message, bytes):
          socket.send("drawn")
          length = int.from_bytes(message[:4], "big")
          header = json.loads(message[4 : 4 + length])
          if seconds is None:
            self.latencies.append(header["latency"])

  def come_and_go(self) -> None:
    """Is page after page, each for two seconds."""
    while not self.over.is_set():
      self.watch(2)
      self.over.wait(0.5)

  def upload(self) -> None:
    """Uploads what has to be refused."""
    while not self.over.is_set():
      for body, status in ((_BROKEN, 422), (bytes(2 * 2**20), 413)):
        request = urllib.request.Request(
          f"http://{self.address}/restore", data=body, method="POST"
        )
        try:
          with urllib.request.urlopen(request, timeout=60):
            raise InputError("a broken upload was taken")
        except urllib.error.HTTPError as error:
          if error.code != status:
            raise InputError(f"an upload gave {error.code}") from error
        except (urllib.error.URLError, ConnectionError):
          pass  # the server closes while the rest of it is sent
        self.over.wait(5)


def _connect(address: str, **options: Any) -> Any:
  try:
    from websockets.sync.client import connect
  except ImportError as error:
    raise InputError(
      "websockets is missing; pip install 'diffmvr-jax[live]'"
    ) from error
  return connect(address, **options)


def main(argv: list[str]) -> None:
  """Starts the server, troubles it, and judges."""
  parser = ArgumentParser(prog="python -m launch.soak", description=__doc__)
  parser.add_argument("--seconds", type=number(_DURATION), default=3600)
  parser.add_argument("--out", type=Path, default=Path("runs/soak"))
  parser.add_argument("--port", type=whole(1, 2**16 - 1), default=8765)
  parser.add_argument("--models", help="folder of MediaPipe's .task files")
  args = parser.parse_args(argv)
  drawn = pictures(args.out)
  frames = [jpeg(image) for image, _ in covered(drawn, 10 * FPS)]
  command = [sys.executable, "-m", "diffmvr_jax.live", "--max-upload", "1"]
  command += ["--port", str(args.port)]
  command += ["--models", args.models] if args.models else []
  with (args.out / "server.log").open("w+") as log:
    server = subprocess.Popen(command, stderr=log)
    try:
      _wait_until_open(server, args.out / "server.log")
      looks = _trouble(server, args, frames)
    finally:
      _end(server)
  _report(looks, args.out)


def _end(server: subprocess.Popen) -> None:
  server.terminate()
  try:
    server.wait(timeout=30)
  except subprocess.TimeoutExpired:
    server.kill()
    server.wait()


def _wait_until_open(server: subprocess.Popen, log: Path) -> None:
  while not re.search(r"^open http", log.read_text(), re.M):
    if server.poll() is not None:
      said = log.read_text().strip().splitlines() or ["without a word"]
      raise InputError(f"the server ended: {said[-1]}")
    time.sleep(0.2)


def _trouble(
  server: subprocess.Popen, args: argparse.Namespace, frames: list[bytes]
) -> list[Look]:
  soak = Soak(f"127.0.0.1:{args.port}", frames)
  failures: list[BaseException] = []
  tasks = (soak.film, soak.watch, soak.come_and_go, soak.upload)
  threads = [
    threading.Thread(target=_noting(task, failures, soak)) for task in tasks
  ]
  for thread in threads:
    thread.start()
  looks = []
  try:
    for _ in range(_SAMPLES):
      before = len(soak.latencies)
      soak.over.wait(args.seconds / _SAMPLES)
      recent = soak.latencies[before:]
      if soak.over.is_set() or not recent:
        break
      looks.append(_look(server.pid, recent))
      print(looks[-1], f"{len(recent)} frames", flush=True)
  finally:
    soak.over.set()
  for thread in threads:
    thread.join(timeout=60)
  if failures or len(looks) < _SAMPLES:
    raise InputError(f"the soak broke off: {failures or 'no frame came'}")
  return looks


def _noting(
  task: Callable[[], None], failures: list[BaseException], soak: Soak
) -> Callable[[], None]:
  def run() -> None:
    try:
      task()
    except Exception as error:
      if not soak.over.is_set():
        failures.append(error)
        soak.over.set()

  return run


def _look(pid: int, latencies: list[float]) -> Look:
  status = Path(f"/proc/{pid}/status").read_text()
  numbers = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.M))
  return Look(
    memory=int(numbers["VmRSS"]) / 1024,
    threads=int(numbers["Threads"]),
    files=len(os.listdir(f"/proc/{pid}/fd")),
    latency=float(np.percentile(latencies, 95)),
  )


def _report(looks: list[Look], out: Path) -> None:
  """Compares the second third with the last.

  Raises:
    SystemExit: something has grown.
  """
  third = _SAMPLES // 3
  early, late = looks[third : 2 * third], looks[2 * third :]

  def most(name: str, part: list[Look]) -> float:
    return max(getattr(look, name) for look in part)

  trouble = [
    f"{name} grew from {most(name, early):.0f} to {most(name, late):.0f}"
    for name, factor in (("memory", _GROWTH), ("latency", _SLOWER))
    if most(name, late) > factor * most(name, early)
  ]
  # One connection more or less, and the threads that serve it.
  trouble += [
    f"{name}: {most(name, early):.0f}, then {most(name, late):.0f}"
    for name in ("threads", "files")
    if most(name, late) > most(name, early) + 4
  ]
  lines = [json.dumps(vars(look)) for look in looks]
  (out / "looks.jsonl").write_text("\n".join(lines) + "\n")
  for line in trouble:
    print(line)
  sys.exit(1 if trouble else 0)


if __name__ == "__main__":
  run_command(main)
