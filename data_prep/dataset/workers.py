"""Writes the parts of a data set: here, in processes, or on a cluster."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

import cv2
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from data_prep.dataset.part import write_part
from data_prep.recipe import Recipe
from data_prep.sources import VideoSource
from diffmvr_jax.buckets import Place
from diffmvr_jax.engines.workers import open_workers
from diffmvr_jax.errors import InputError


def write_parts(
  jobs: Sequence[tuple[VideoSource, Place]],
  recipe: Recipe,
  *,
  workers: int,
  engine: str | None,
  progress: tqdm,
) -> Iterator[tuple[VideoSource, str]]:
  """Writes a part for each video.

  Args:
    jobs: the videos and their parts.
    recipe: how the videos are prepared.
    workers: number of processes; with 1, this process does it all.
    engine: Ray cluster that does it in their place, see `open_workers`.
    progress: counts frames.

  Yields:
    Each video, once it is done, with what is wrong with it; empty if nothing.

  Raises:
    InputError: a worker process died.
    OSError: the disk does not take it.
  """
  if workers > 1:
    yield from _write_in_processes(jobs, recipe, workers, progress)
    return
  with open_workers(
    partial(PartWriter, recipe), engine, computes=False
  ) as opened:
    for (source, _), error in opened.work(jobs, progress.update):
      yield source, str(error)


class PartWriter:
  """Writes the parts of videos, one after the other.

  Args:
    recipe: how the videos are prepared.

  Attributes:
    about: nothing.
  """

  about = None

  def __init__(self, recipe: Recipe):
    self._recipe = recipe

  def __call__(
    self, job: tuple[VideoSource, Place], after_frame: Callable[[], object]
  ) -> str:
    """Writes a part; returns what is wrong, see `write_part`."""
    return write_part(*job, self._recipe, after_frame)


def _write_in_processes(
  jobs: Sequence[tuple[VideoSource, Place]],
  recipe: Recipe,
  workers: int,
  progress: tqdm,
) -> Iterator[tuple[VideoSource, str]]:
  # Forking would copy locked locks of MediaPipe's and PyTorch's threads.
  context = get_context("spawn")
  counter, stop = context.Value("q", 0), context.Event()
  with ProcessPoolExecutor(
    workers, context, _start_worker, (counter, stop, os.getpid())
  ) as pool:
    waiting: dict[Future, VideoSource] = {
      pool.submit(_work, source, part, recipe): source for source, part in jobs
    }
    with _stop_on_error(stop, pool):
      while waiting:
        finished, _ = wait(waiting, timeout=0.5, return_when="FIRST_COMPLETED")
        progress.update(progress.initial + counter.value - progress.n)
        for future in finished:
          try:
            yield waiting.pop(future), future.result()
          except BrokenProcessPool as error:
            raise InputError(
              "a worker process died, perhaps for want of memory; run the "
              "command again with fewer --workers, finished videos are kept"
            ) from error


@contextmanager
def _stop_on_error(stop, pool: ProcessPoolExecutor) -> Iterator[None]:
  """Stops the workers within a frame if the loop is left by an error."""
  try:
    yield
  except BaseException:
    stop.set()
    pool.shutdown(wait=True, cancel_futures=True)
    raise


class _Stopped(Exception):
  """The export ended early, which is no fault of the video in work."""


# Set in each worker process when it starts: synchronised values cannot be sent
# to it later.
_after_frame: Callable[[], None]


def _start_worker(counter, stop, parent: int) -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
  # The processes share the cores already. With the libraries' own choice of
  # threads, 16 workers on 16 cores made a sixteenth of the frames per second.
  cv2.setNumThreads(1)
  threadpool_limits(1)

  global _after_frame

  def after_frame() -> None:
    with counter.get_lock():
      counter.value += 1
    if stop.is_set() or os.getppid() != parent:
      raise _Stopped

  _after_frame = after_frame


def _work(source: VideoSource, part: Place, recipe: Recipe) -> str:
  return write_part(source, part, recipe, _after_frame)
