import threading
import time

import pytest

from diffmvr_jax.media.ahead import ahead


def test_items_come_in_order_and_are_made_in_another_thread():
  made_by = set()

  def items():
    for i in range(20):
      made_by.add(threading.get_ident())
      yield i

  assert list(ahead(items())) == list(range(20))
  assert made_by and threading.get_ident() not in made_by


def test_an_error_comes_after_the_items_before_it():
  def items():
    yield 1
    raise ValueError("second")

  stream = ahead(items())
  assert next(stream) == 1
  with pytest.raises(ValueError, match="second"):
    next(stream)


def test_closing_ends_the_thread_and_the_iterator():
  ended = threading.Event()

  def items():
    try:
      yield from iter(int, 1)  # without end
    finally:
      ended.set()

  before = threading.active_count()
  stream = ahead(items())
  next(stream)
  stream.close()
  assert ended.wait(5)
  deadline = time.monotonic() + 5
  while threading.active_count() > before and time.monotonic() < deadline:
    time.sleep(0.01)
  assert threading.active_count() == before
