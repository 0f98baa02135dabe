"""Among how many cores operations are split."""

import os
import subprocess
import sys

import pytest

# Prints the threads that XLA and OpenCV have for one operation.
COUNT = """
import os
from pathlib import Path
{prepare}
import cv2
import jax
jax.jit(lambda x: x @ x)(jax.numpy.ones((64, 64))).block_until_ready()
names = [x.read_text() for x in Path("/proc/self/task").glob("*/comm")]
print(sum(x.startswith("tf_XLAEigen") for x in names), cv2.getNumThreads())
"""
PREPARE = "from diffmvr_jax.runtime.cores import spare_a_core; spare_a_core()"


def threads(prepare, **variables):
  done = subprocess.run(
    [sys.executable, "-c", COUNT.format(prepare=prepare)],
    check=True,
    capture_output=True,
    text=True,
    env=os.environ | variables,
  )
  xla, opencv = (int(x) for x in done.stdout.split())
  return xla, opencv


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_one_core_is_left_for_other_stages():
  cores = len(os.sched_getaffinity(0))
  if cores == 1:
    pytest.skip("there is none to spare")
  assert threads("") == (cores, cores)
  assert threads(PREPARE) == (cores - 1, cores - 1)
  assert threads(PREPARE, PJRT_NPROC="3")[0] == 3  # whoever asks for it
