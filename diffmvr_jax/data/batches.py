"""Batches of windows, shuffled by grain.

The order depends on the seed alone. Each process reads the rows of the global
batch that its devices need, so the batch is the same on any number of
processes, and the iterator's state is one integer.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import grain
import numpy as np

from diffmvr_jax.config import DataConfig
from diffmvr_jax.data.windows import Window


class _RandomFlip(grain.transforms.RandomMap):
  """Decides for half of the windows that they are mirrored."""

  def random_map(
    self, element: int, rng: np.random.Generator
  ) -> tuple[int, bool]:
    """Adds the decision to a window's number."""
    return element, bool(rng.random() >= 0.5)


class _Rows(grain.MapDataset):
  """Keeps only some rows of each batch of the parent's elements."""

  def __init__(
    self, parent: grain.MapDataset, batch_size: int, rows: Sequence[int]
  ):
    super().__init__(parent)
    self._batch_size, self._rows = batch_size, rows

  def __len__(self) -> int:
    return len(self._parent) // self._batch_size * len(self._rows)

  def __getitem__(self, index):
    batch, row = divmod(index, len(self._rows))
    return self._parent[batch * self._batch_size + self._rows[row]]


@runtime_checkable
class Windows(Protocol):
  """What batches are made of: images, or encoded frames."""

  def __len__(self) -> int:
    """How many windows there are."""
    ...

  def read(self, indices: Sequence[int], flips: Sequence[bool]) -> Window:
    """Arrays (window, frame, …), and `window_id`."""
    ...


def training_batches(
  source: Windows,
  config: DataConfig,
  *,
  batch_size: int,
  seed: int,
  rows: Sequence[int] | None = None,
) -> grain.DatasetIterator:
  """An endless, checkpointable iterator over this process's batches.

  Args:
    source: the windows.
    config: flipping and reader threads.
    batch_size: windows per step over all processes.
    seed: decides order and flips.
    rows: rows of the batch that this process feeds; None: all of them.

  Returns:
    An iterator of `Window`s with a leading batch axis; `get_state()` and
    `set_state()` are its checkpoint, which is a count of batches, and so the
    same for any number of processes.
  """
  # Only numbers are shuffled and batched; the images come last, at once.
  chosen = grain.MapDataset.source(range(len(source))).seed(seed)
  chosen = chosen.shuffle().repeat()
  if config.flip:
    chosen = chosen.random_map(_RandomFlip())
  else:
    chosen = chosen.map(lambda i: (i, False))
  if rows is not None and len(rows) < batch_size:
    chosen = _Rows(chosen, batch_size, rows)
    batch_size = len(rows)
  # Rounding the endless length up, the default, overflows at batch size 1.
  batches = chosen.batch(batch_size, drop_remainder=True)
  batches = batches.map(lambda b: source.read(b[0].tolist(), b[1].tolist()))
  options = grain.ReadOptions(
    num_threads=config.threads, prefetch_buffer_size=4 * config.threads
  )
  return iter(batches.to_iter_dataset(options))
