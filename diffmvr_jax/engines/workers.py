"""What works on many videos, and where: here, or on a cluster.

A worker is made once, with a model if it needs one, and then does the same
with each video. What it makes of a video depends on nothing else, so it does
not matter which worker gets which video, or where that is.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from diffmvr_jax.errors import InputError


@runtime_checkable
class Worker(Protocol):
  """Works on one video after the other.

  Attributes:
    about: what is the same for all videos, such as the digest of the model.
  """

  about: Any

  def __call__(self, item: Any, after_frame: Callable[[], object], /) -> Any:
    """Works on a video.

    Args:
      item: stands for the video.
      after_frame: is called after every frame.

    Returns:
      What becomes of it.

    Raises:
      InputError: the video cannot be used; the others are not concerned.
    """
    ...


@runtime_checkable
class Workers(Protocol):
  """One worker or several.

  Attributes:
    about: that of every worker.
  """

  about: Any

  def work(
    self,
    items: Iterable[Any],
    after_frames: Callable[[int], object],
    *,
    in_order: bool = False,
  ) -> Iterator[tuple[Any, Any]]:
    """Works on videos.

    Args:
      items: stand for the videos.
      after_frames: is called with a number of frames that are done.
      in_order: whether results come in the order of the items, or as soon as
        there are any.

    Yields:
      Each item with its result, or with the `InputError` that says why it
      cannot be used.

    Raises:
      Exception: whatever else a worker raises, which ends all work.
    """
    ...


class _OneWorker:
  """Works in this process."""

  def __init__(self, open_worker: Callable[[], Worker]):
    self._worker = open_worker()
    self.about = self._worker.about

  def work(
    self,
    items: Iterable[Any],
    after_frames: Callable[[int], object],
    *,
    in_order: bool = False,
  ) -> Iterator[tuple[Any, Any]]:
    del in_order  # they always do
    for item in items:
      yield item, attempted(self._worker, item, lambda: after_frames(1))


def attempted(
  worker: Worker, item: Any, after_frame: Callable[[], object]
) -> Any:
  """The result of a worker, or the `InputError` that it raised."""
  try:
    return worker(item, after_frame)
  except InputError as error:
    return error


@contextmanager
def open_workers(
  open_worker: Callable[[], Worker], engine: str | None, *, computes: bool
) -> Iterator[Workers]:
  """Opens one worker in this process, or as many as a cluster has room for.

  Args:
    open_worker: makes a worker; is pickled for a cluster.
    engine: address of a Ray cluster, as `ray.init` takes it, empty for the one
      that it finds or starts; None means this process.
    computes: whether workers compute with JAX; then each gets a GPU of a
      cluster that has any.

  Raises:
    InputError: a worker cannot be made, or there is no such cluster.
  """
  if engine is None:
    yield _OneWorker(open_worker)
    return
  from diffmvr_jax.engines.ray_actors import RayActors, connected

  with connected(engine):
    yield RayActors(open_worker, computes=computes)
