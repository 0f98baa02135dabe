"""Workers that die, or make much; processes of a cluster import them."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import ray

from diffmvr_jax.engines.workers import open_workers
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import write_atomically

STORE = 100_000_000  # bytes of a node's object store
KILLED = "killed"  # the file that ends all waiting


class Fragile:
  """Does what an item says, and returns its name.

  Args:
    folder: where it leaves a mark when it has begun an item.
  """

  def __init__(self, folder: Path):
    self._folder, self.about = folder, "fragile"

  def __call__(self, item, after_frame):
    name, what = item
    begun = self._folder / name
    first = not begun.exists()
    node = ray.get_runtime_context().get_node_id()
    write_atomically(begun, f"{node} {os.getpid()}")
    after_frame()
    if what == "dies always" or (what == "dies once" and first):
      os.kill(os.getpid(), signal.SIGKILL)
    while what == "waits" and not (self._folder / KILLED).exists():
      time.sleep(0.1)
    if what == "is bad":
      raise InputError(f"{name}: is bad")
    if what == "is large":
      return np.full(40_000_000, len(name), np.uint8)
    return name


class Unopened:
  """A worker that cannot be made."""

  about = None

  def __init__(self):
    raise InputError("model.npz: no such file; train one")

  def __call__(self, item, after_frame):
    raise NotImplementedError


def opened(cluster, folder):
  """Fragile workers."""
  make = partial(Fragile, folder)
  return open_workers(make, cluster.address, computes=False)
