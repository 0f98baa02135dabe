"""Runs an iterator in a thread of its own, so that stages overlap."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()
_PATIENCE = 0.1  # seconds after which a thread looks whether it is still needed


class _Raised:
  """What the iterator raised, on its way to whoever takes the items."""

  def __init__(self, error: BaseException):
    self.error = error


def ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
  """Yields what an iterator gives, which works ahead in another thread.

  The thread starts with the first item that is asked for. It ends with the
  iterator, or soon after the generator is closed.

  Args:
    items: is iterated over in that thread alone.
    depth: so many items may wait to be taken.

  Example:
    >>> list(ahead(range(3)))
    [0, 1, 2]
  """
  waiting: queue.Queue[Any] = queue.Queue(depth)
  unneeded = threading.Event()
  worker = threading.Thread(
    target=_fill, args=(items, waiting, unneeded.is_set), daemon=True
  )
  worker.start()
  try:
    while True:
      item = waiting.get()
      if item is _END:
        return
      if isinstance(item, _Raised):
        raise item.error
      yield item
  finally:
    unneeded.set()


def _fill(
  items: Iterable[Any], waiting: queue.Queue[Any], is_over: Callable[[], bool]
) -> None:
  last: Any = _END
  iterator = iter(items)
  try:
    for item in iterator:
      if not _put(waiting, item, is_over):
        return
  except BaseException as error:
    last = _Raised(error)
  finally:
    close = getattr(iterator, "close", None)
    if close is not None:
      close()
    _put(waiting, last, is_over)


def _put(
  waiting: queue.Queue[Any], item: Any, is_over: Callable[[], bool]
) -> bool:
  """Returns whether the item was handed over."""
  while not is_over():
    try:
      waiting.put(item, timeout=_PATIENCE)
      return True
    except queue.Full:
      continue
  return False
