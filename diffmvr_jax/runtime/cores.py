"""Sets among how many cores one operation is split."""

import os

import cv2


def spare_a_core() -> None:
  """Splits XLA's and OpenCV's operations among all cores but one.

  Stages of a pipeline that run at once keep the cores busy by themselves. If a
  small operation is split, the threads that wait for its shares do so at full
  load, and take the time of other stages.

  Call it before anything that JAX computes. If the environment variable
  `PJRT_NPROC` is set, that decides for XLA; OpenCV gets no more threads than
  it has.

  Example:
    >>> spare_a_core()  # doctest: +SKIP
  """
  # OpenCV's count knows of affinities and of containers' quotas.
  threads = max(1, cv2.getNumberOfCPUs() - 1)
  os.environ.setdefault("PJRT_NPROC", str(threads))
  cv2.setNumThreads(min(threads, cv2.getNumThreads()))
