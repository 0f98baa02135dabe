"""What reaches the terminal, seen from outside: by processes of their own."""

import pty
import subprocess
import sys
import termios
from os import close, environ, read

import pytest

CHATTER = (
  "import os; os.write(2, b'INFO: Created TensorFlow Lite XNNPACK delegate\\n"
  "W0000 00:00:1795.6 28712 inference_runner_litert.cc:1433] Input\\n"
  "I0000 00:00:1795.6 28712 gl_context.cc:3] GL\\n"
  "WARNING: Logging before InitGoogle()\\n')\n"
)


def run(program, **environment):
  """Returns code and stderr of a Python program."""
  done = subprocess.run(
    [sys.executable, "-c", program],
    capture_output=True,
    text=True,
    env=environ | environment,
  )
  return done.returncode, done.stderr


QUIETLY = (
  "import sys\n"
  "from diffmvr_jax.command_line.terminal import without_chatter\n"
  "print('before', file=sys.stderr)\n"
  "with without_chatter():\n  "
)


def test_chatter_is_hidden_and_our_own_lines_are_not():
  code, seen = run(
    QUIETLY + CHATTER + "  print('ours', file=sys.stderr)\n"
    "  os.write(2, b'E0000 00:00:1 2 graph.cc:1] failed\\n')\n"
    "print('after', file=sys.stderr)\n"
  )
  assert code == 0
  assert seen.splitlines() == [
    "before",
    "ours",
    "E0000 00:00:1 2 graph.cc:1] failed",
    "after",
  ]


def test_tracebacks_are_whole():
  code, seen = run(QUIETLY + CHATTER + "  raise KeyError('lost')\n")
  assert code == 1
  assert seen.startswith("before\nTraceback (most recent call last):")
  assert seen.endswith("KeyError: 'lost'\n") and "INFO" not in seen


def test_the_last_of_several_threads_ends_it():
  code, seen = run(
    "import threading\n" + QUIETLY + CHATTER + "  def other():\n"
    "    with without_chatter():\n"
    "      inside.set(); leave.wait()\n"
    "  inside, leave = threading.Event(), threading.Event()\n"
    "  thread = threading.Thread(target=other); thread.start(); inside.wait()\n"
    "print('still within', file=sys.stderr)\n" + CHATTER + "leave.set()\n"
    "thread.join()\n"
    "print('after', file=sys.stderr)\n" + CHATTER
  )
  lines = seen.splitlines()
  assert code == 0
  assert lines[:3] == ["before", "still within", "after"]
  assert len(lines) == 3 + 4  # what is written afterwards is all there


def test_verbose_hides_nothing():
  _, seen = run(QUIETLY + CHATTER, DIFFMVR_VERBOSE="1")
  assert len(seen.splitlines()) == 1 + 4


def test_verbose_is_an_option(monkeypatch):
  monkeypatch.delenv("DIFFMVR_VERBOSE", raising=False)
  code, seen = run(
    "import argparse\n"
    "from diffmvr_jax.command_line.terminal import add_verbose_option\n"
    "parser = argparse.ArgumentParser()\n"
    "add_verbose_option(parser)\n"
    "parser.parse_args(['--verbose'])\n" + QUIETLY + CHATTER
  )
  assert code == 0 and len(seen.splitlines()) == 1 + 4


BAR = (
  "import sys, time\n"
  "from diffmvr_jax.command_line import terminal\n"
  "terminal._SECONDS = 0.2\n"
  "for _ in terminal.progress_bar(range({count}), unit='frame', desc='x'):\n"
  "  time.sleep({pause})\n"
)


def test_without_a_terminal_there_are_lines_in_long_distances():
  code, seen = run(BAR.format(count=100, pause=0.01))
  lines = seen.splitlines()
  assert code == 0
  assert 2 <= len(lines) <= 7 and "\r" not in seen
  assert "100/100" in lines[-1] and lines[0].startswith("x: ")


def test_without_a_terminal_short_work_needs_no_line():
  assert run(BAR.format(count=5, pause=0.001)) == (0, "")


def test_a_terminal_gets_a_bar():
  ours, theirs = pty.openpty()
  termios.tcsetwinsize(theirs, (24, 80))
  try:
    subprocess.run(
      [sys.executable, "-c", BAR.format(count=20, pause=0.01)],
      stderr=theirs,
      check=True,
    )
    seen = read(ours, 1 << 16).decode()
  finally:
    close(ours)
    close(theirs)
  assert seen.count("\r") > 2 and "20/20" in seen


@pytest.mark.parametrize("end", ["raise KeyError('ours')", "sys.exit(3)"])
def test_detectors_end_quietly_whatever_happens(assets, end):
  code, seen = run(
    "import sys\n"
    "import numpy as np\n"
    "from data_prep.detectors.landmarkers import FaceDetector, HandDetector\n"
    f"models = {str(assets / 'models')!r}\n"
    "def found():\n"
    "  for kind in (FaceDetector, HandDetector):\n"
    "    detector = kind(models)\n"
    "    detector.itself = detector\n"  # so that only its end frees it
    "    yield detector(np.zeros((64, 64, 3), np.uint8), 0)\n"
    "for _ in found():\n"
    "  pass\n" + end
  )
  if end.startswith("sys"):
    assert (code, seen) == (3, "")
  else:
    assert code == 1
    assert seen.startswith("Traceback") and seen.endswith("KeyError: 'ours'\n")
    # Python 3.13 shows the program's last line as well.
    assert seen.replace(end, "").count("Error") == 1
