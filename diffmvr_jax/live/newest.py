"""A place for one item, of which the newest one wins."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
  """Hands items from one thread to another; one that is late is dropped.

  Example:
    >>> place = Newest()
    >>> place.put(1), place.put(2), place.take(timeout=0.0)
    (False, True, 2)
  """

  def __init__(self) -> None:
    self._changed = threading.Condition()
    self._item: list[T] = []
    self._closed = False

  def put(self, item: T) -> bool:
    """Puts an item there, and returns whether an older one was dropped."""
    with self._changed:
      full = bool(self._item)
      self._item = [item]
      self._changed.notify()
    return full

  def take(self, timeout: float | None = None) -> T | None:
    """Waits for an item.

    Args:
      timeout: seconds to wait at most; None means without end.

    Returns:
      The item; None if there is none in time, or after `close`.
    """
    with self._changed:
      self._changed.wait_for(lambda: self._item or self._closed, timeout)
      return self._item.pop() if self._item and not self._closed else None

  @property
  def closed(self) -> bool:
    """Whether nothing is taken any more."""
    return self._closed

  def close(self) -> None:
    """Lets everybody who waits go."""
    with self._changed:
      self._closed = True
      self._changed.notify_all()
