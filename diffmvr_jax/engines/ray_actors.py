"""Workers as actors of a Ray cluster.

Ray places the actors, starts them again after a process or a node has died, and
repeats what they were at. Here is only which actor gets which video, and how
many actors there are.
"""

import heapq
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from diffmvr_jax.command_line.terminal import note
from diffmvr_jax.engines.workers import Worker, attempted
from diffmvr_jax.errors import InputError

# Of an actor: a video that kills its processes must not do so for ever.
_RESTARTS = 3
_SECONDS = 5.0  # until we look whether nodes have joined
_PATIENCE = 60.0  # seconds until we say what we are waiting for
_ANSWER = 10.0  # seconds in which a cluster answers
_PREFIX = "DIFFMVR_"  # of our environment variables
_XLA_THREADS = "NPROC"  # on CPUs


@contextmanager
def connected(address: str) -> Iterator[None]:
  """Connects this process with a cluster.

  Args:
    address: of the cluster; empty means the one that `RAY_ADDRESS` names or
      that runs on this machine, or else one of this machine alone, which ends
      with the connection.

  Raises:
    InputError: there is no such cluster.
  """
  os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
  verbose = bool(os.environ.get("DIFFMVR_VERBOSE"))
  host, _, port = address.rpartition(":")
  try:
    if host:  # Ray itself would try for minutes
      socket.create_connection((host, int(port)), timeout=_ANSWER).close()
    ray.init(
      address or None,
      log_to_driver=verbose,
      logging_level=logging.INFO if verbose else logging.ERROR,
    )
  except (OSError, OverflowError, RuntimeError, ValueError) as error:
    reason = " ".join(str(error).split())
    raise InputError(f"--engine ray:{address}: {reason}") from error
  try:
    yield
  finally:
    ray.shutdown()


class _Actor:
  """A worker in a process of the cluster.

  Args:
    open_worker: makes the worker.
    folder: the working directory of the command.
    environment: environment variables to set.
  """

  def __init__(
    self,
    open_worker: Callable[[], Worker],
    folder: str,
    environment: Mapping[str, str],
  ):
    self._open, self._worker = open_worker, None
    self._folder = folder
    os.environ.update(environment)
    cv2.setNumThreads(1)  # the actors share the cores already

  def about(self) -> Any:
    """What all workers have in common."""
    return self._opened().about

  def work(self, item: Any) -> tuple[Any, int]:
    """The result for a video, or why there is none, and a number of frames."""
    worker, frames = self._opened(), 0

    def after_frame() -> None:
      nonlocal frames
      frames += 1

    result = attempted(worker, item, after_frame)
    # Errors of other classes may not survive the way.
    wrong = isinstance(result, InputError)
    return InputError(str(result)) if wrong else result, frames

  def _opened(self) -> Worker:
    """The worker; is made when it is first used, and after a restart again."""
    if self._worker is None:
      node = socket.gethostname()
      try:
        os.chdir(self._folder)
      except OSError as error:
        raise InputError(
          f"{self._folder}: not on {node} ({error.strerror}); all nodes need "
          "the files at the same paths"
        ) from None
      try:
        self._worker = self._open()
      except InputError as error:
        raise InputError(f"{error} (on {node})") from None
    return self._worker


@dataclass(frozen=True)
class _Task:
  """What an actor is at.

  Attributes:
    actor: the actor.
    fresh: whether this is its first video.
    number: number of the video.
    item: stands for the video.
  """

  actor: Any
  fresh: bool
  number: int
  item: Any


class RayActors:
  """As many workers as the cluster has room for.

  Args:
    open_worker: makes a worker.
    computes: whether each gets a GPU, if the cluster has any.

  Raises:
    InputError: a worker cannot be made.
  """

  def __init__(self, open_worker: Callable[[], Worker], *, computes: bool):
    on_gpu = computes and ray.cluster_resources().get("GPU", 0) >= 1
    self._kind = "GPU" if on_gpu else "CPU"
    ours = {k: v for k, v in os.environ.items() if k.startswith(_PREFIX)}
    if not on_gpu:
      ours[_XLA_THREADS] = "1"
    self._actor = ray.remote(
      num_cpus=1,
      num_gpus=1 if on_gpu else 0,
      max_restarts=_RESTARTS,
      # Ray also counts attempts to reach a node that it does not yet know to be
      # dead; restarts limit what is repeated.
      max_task_retries=-1,
    )(_Actor)
    self._arguments = (open_worker, os.getcwd(), ours)
    # Each with whether it is fresh.
    self._idle: list[tuple[Any, bool]] = [self._started()]
    about = self._idle[0][0].about.remote()
    if not ray.wait([about], timeout=_PATIENCE)[0]:
      note(f"waiting until the cluster has room: a {self._kind} is needed")
    try:
      self.about = _fetched(about)
    except RayError as error:
      raise _death(error) from error

  def work(
    self,
    items: Iterable[Any],
    after_frames: Callable[[int], object],
    *,
    in_order: bool = False,
  ) -> Iterator[tuple[Any, Any]]:
    """Gives each actor one video after the other; see `Workers`."""
    waiting = list(enumerate(items))  # a heap, by number
    busy: dict[ray.ObjectRef, _Task] = {}
    held: dict[int, tuple[Any, Any]] = {}
    failures: Counter[int] = Counter()
    coming = 0  # number of the next result, if they come in order
    while waiting or busy:
      room = self._room()
      while (
        waiting
        and len(busy) < room
        and (len(held) < 2 * room or waiting[0][0] == coming)
      ):
        number, item = heapq.heappop(waiting)
        actor, fresh = self._idle.pop() if self._idle else self._started()
        busy[actor.work.remote(item)] = _Task(actor, fresh, number, item)
      # An actor whose node has died may wait for the place of an idle one.
      self._end_idle()
      for reference in ray.wait(list(busy), timeout=_SECONDS)[0]:
        task = busy.pop(reference)
        try:
          result, frames = _fetched(reference)
          self._idle.append((task.actor, False))
        except RayError as error:
          ray.kill(task.actor)
          failures[task.number] += 1
          # Earlier videos may have used up the restarts of an actor, and an
          # actor or a result may be out of reach for a while.
          guilty = task.fresh and isinstance(error, ActorDiedError)
          if not guilty and failures[task.number] <= _RESTARTS:
            heapq.heappush(waiting, (task.number, task.item))
            continue
          result, frames = _death(error), 0
        after_frames(frames)
        if in_order:
          held[task.number] = task.item, result
        else:
          yield task.item, result
      while coming in held:
        yield held.pop(coming)
        coming += 1
    self._end_idle()

  def _started(self) -> tuple[Any, bool]:
    return self._actor.remote(*self._arguments), True

  def _room(self) -> int:
    """How many actors the nodes that are there now can hold; at least 1."""
    return max(1, int(ray.cluster_resources().get(self._kind, 0)))

  def _end_idle(self) -> None:
    for actor, _ in self._idle:
      ray.kill(actor)
    self._idle.clear()


def _death(error: RayError) -> InputError:
  reason = str(error).strip().splitlines()[0]
  return InputError(
    f"a process died {1 + _RESTARTS} times at it, perhaps for want of memory "
    f"({reason})"
  )


def _fetched(reference: "ray.ObjectRef") -> Any:
  """A result; what an actor raised is raised here as it was."""
  try:
    return ray.get(reference)
  except RayTaskError as error:
    raise error.cause from error
