"""What the commands import; `make lint` holds the rest of the rules."""

import subprocess
import sys

COMMANDS = (
  *("train", "restore", "evaluate", "sweep", "convert", "encode"),
  "live.__main__",
)
# Not PyTorch, which tensorboardX imports where it is installed.
LAZY = ("data_prep", "mediapipe", "transformers", "ultralytics")


def test_commands_import_data_prep_only_when_needed():
  code = (
    "import importlib, sys\n"
    f"for name in {COMMANDS}: importlib.import_module('diffmvr_jax.' + name)\n"
    f"print([name for name in {LAZY} if name in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout == "[]\n"
