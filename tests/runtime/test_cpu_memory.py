"""Memory that a CPU's programs keep."""

import platform
import subprocess
import sys

import pytest

# Pages that the median call of a program has the system map. A few of the
# first calls may still: what is kept settles only then.
FAULTS = """
import resource
import statistics

import jax
import jax.numpy as jnp

{prepare}
x = jnp.ones((2048, 2048))
program = jax.jit(lambda x: jnp.sin(jnp.sin(x @ x) @ x).sum())
counts = []
for _ in range(25):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  program(x).block_until_ready()
  counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(statistics.median_low(counts))
"""
PREPARE = (
  "from diffmvr_jax.runtime.cpu_memory import keep_memory; keep_memory()"
)


def faults(prepare):
  done = subprocess.run(
    [sys.executable, "-c", FAULTS.format(prepare=prepare)],
    check=True,
    capture_output=True,
    text=True,
  )
  return int(done.stdout)


@pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone"
)
def test_a_repeated_program_maps_no_memory_anew():
  one = 2048 * 2048 * 4 // 4096  # pages of an intermediate
  assert faults("") > one
  assert faults(PREPARE) < one / 10
