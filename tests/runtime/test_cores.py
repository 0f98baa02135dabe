"""Among how many cores operations are split."""

import os
import subprocess
import sys

import pytest

# Prints the threads that XLA and OpenCV have for one operation.
COUNT = """
from pathlib import Path
{prepare}
import cv2
import jax
jax.jit(lambda x: x @ x)(jax.numpy.ones((64, 64))).block_until_ready()
names = [x.read_text() for x in Path("/proc/self/task").glob("*/comm")]
print(sum(x.startswith("tf_XLAEigen") for x in names), cv2.getNumThreads())
"""
PREPARE = "from diffmvr_jax.runtime.cores import spare_a_core; spare_a_core()"
# What would decide in its place.
VARIABLES = {"PJRT_NPROC", "OPENCV_FOR_THREADS_NUM", "XLA_FLAGS"}


def threads(prepare, **variables):
  inherited = {k: v for k, v in os.environ.items() if k not in VARIABLES}
  done = subprocess.run(
    [sys.executable, "-c", COUNT.format(prepare=prepare)],
    check=True,
    capture_output=True,
    text=True,
    env=inherited | variables,
  )
  xla, opencv = (int(x) for x in done.stdout.split())
  return xla, opencv


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_one_core_is_left_for_other_stages():
  xla, opencv = threads("")
  if min(xla, opencv) < 2:
    pytest.skip("there is none to spare, or XLA's threads have other names")
  assert threads(PREPARE) == (opencv - 1, opencv - 1)
  # Whoever asks for a number gets it, and no more.
  assert threads(PREPARE, PJRT_NPROC="3")[0] == 3
  assert threads(PREPARE, OPENCV_FOR_THREADS_NUM="1")[1] == 1
