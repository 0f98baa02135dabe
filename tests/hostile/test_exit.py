"""What is open is closed before the interpreter ends, whatever ends it."""

import signal
import subprocess
import sys
import time

import pytest

# Stands for MediaPipe, whose graphs close themselves when they are collected,
# each in a thread. Once Python has begun to end, no thread can be started.
FAKE = """
import sys, threading, types
class Task:
  def __init__(self):
    self.closed = False
  def detect(self, image):
    return types.SimpleNamespace(found=[])
  def close(self):
    thread = threading.Thread(target=print, args=("closed",))
    thread.start()
    thread.join()
    self.closed = True
  def __del__(self):
    if not self.closed:
      self.close()
package = types.ModuleType("mediapipe")
package.Image = lambda **options: None
package.ImageFormat = types.SimpleNamespace(SRGB=1)
package.tasks = types.ModuleType("mediapipe.tasks")
package.tasks.python = types.SimpleNamespace(vision=None)
sys.modules |= {
  "mediapipe": package,
  "mediapipe.tasks": package.tasks,
}
from data_prep.detectors.mediapipe_graphs import Graph
from diffmvr_jax.errors import InputError, run_command
def opened():
  return Graph(lambda vision: Task())
"""
# CPython's issue 113964: these versions start no thread once the main thread
# has ended, so that our hook, which comes early elsewhere, comes too late.
_STARTS_NONE = (3, 12) <= sys.version_info[:3] < (3, 12, 3)
ENDINGS = {
  "an input error": ("raise InputError('x')", 2, "error: x\n"),
  "a disk": ("raise OSError(28, 'full', 'x')", 2, "error: x: full; make room"),
  "no memory": ("raise MemoryError('x')", 2, "error: not enough memory (x)\n"),
  "sys.exit": ("sys.exit('x')", 1, "x\n"),
  "an end": ("pass", 0, ""),
  "an interrupt": ("raise KeyboardInterrupt", 130, "interrupted\n"),
}


def run(body):
  code = f"{FAKE}\nimport numpy as np\n{body}"
  return subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False
  )


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("where", ["here", "suspended"])
def test_graphs_are_closed_at_any_end(name, where, tmp_path):
  if _STARTS_NONE and (name, where) == ("an end", "suspended"):
    pytest.skip("before 3.12.3, Python 3.12 starts no thread at its end")
  how, code, said = ENDINGS[name]
  bodies = {
    # Held by the frame of the error.
    "here": f"def main(argv):\n  graphs = [opened(), opened()]\n  {how}\n",
    # Held by a generator that nobody has ended.
    "suspended": (
      "def frames():\n  graphs = opened(), opened()\n  yield 1\n  yield 2\n"
      f"kept = frames()\ndef main(argv):\n  next(kept)\n  {how}\n"
    ),
  }
  done = run(f"{bodies[where]}run_command(main)\n")
  assert done.returncode == code, done.stderr
  assert done.stderr.startswith(said) and done.stderr.count("\n") == bool(said)
  assert done.stdout == "closed\n" * 2


def test_a_graph_is_closed_once():
  done = run(
    "graph = opened()\ngraph.close()\ngraph.close()\n"
    "print(graph(np.zeros((2, 2, 3), np.uint8)) is not None)\n"
  )
  assert done.stdout == "closed\nTrue\n" and not done.stderr


@pytest.mark.skipif(
  _STARTS_NONE, reason="before 3.12.3, Python 3.12 starts no thread at its end"
)
def test_a_graph_that_fails_to_close_keeps_no_other_open():
  done = run(
    "graphs = [opened() for _ in range(3)]\n"
    "def fail():\n  graphs[1]._task.closed = True\n  raise RuntimeError\n"
    "graphs[1]._task.close = fail\n"
  )
  assert done.stdout == "closed\n" * 2 and not done.stderr


def test_an_interrupt_closes_too():
  code = FAKE + (
    # A shell starts what runs in the background without the interrupt.
    "import signal, time\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "def main(argv):\n  graph = opened()\n"
    "  print('ready', flush=True)\n  time.sleep(60)\nrun_command(main)\n"
  )
  with subprocess.Popen(
    [sys.executable, "-c", code],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
  assert process.returncode == 130
  assert (out, err) == ("closed\n", "interrupted\n")


def test_a_reader_that_goes_ends_a_command_at_once():
  code = (
    "from diffmvr_jax.errors import run_command\n"
    "run_command(lambda argv: [print(i) for i in range(10**6)] and None)\n"
  )
  command = f'"{sys.executable}" -c "$CODE" | head -1'
  done = subprocess.run(
    ["bash", "-o", "pipefail", "-c", command],
    env={"CODE": code, "PATH": "/usr/bin:/bin"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
