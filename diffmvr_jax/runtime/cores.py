"""Among how many cores one operation is split."""

import os

import cv2


def spare_a_core() -> None:
  """Splits XLA's and OpenCV's operations among all cores but one.

  Where several stages of a pipeline run at once, they keep the cores busy by
  themselves. Threads that wait for their share of a small operation wait at
  full load, and take a stage's time.

  Call it before anything that JAX computes. If the environment variable
  `PJRT_NPROC` is set, that decides for XLA.

  Example:
    >>> spare_a_core()
  """
  threads = max(1, _cores() - 1)
  os.environ.setdefault("PJRT_NPROC", str(threads))
  cv2.setNumThreads(threads)


def _cores() -> int:
  """Those that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
