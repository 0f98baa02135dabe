"""What later frames show, for propagation that can wait for them.

In a recording, what a hand covers now is often seen a moment later. So frames
wait for some of those that follow, of the same scene.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from data_prep.faces.cuts import CutFinder
from data_prep.faces.sightings import Picture
from data_prep.faces.track import LOOKAHEAD

_MEMORY = 512 * 2**20  # bytes of items that wait
_HALF_SEEN = 0.5  # share of a frame that may be covered

T = TypeVar("T")


@dataclass(frozen=True)
class _Waiting(Generic[T]):
  item: T
  picture: Picture | None  # None too if it is mostly covered
  scene: int
  size: int  # bytes


def frames_looked_at(lookahead: int) -> int:
  """How many later frames may show what is covered, of those waited for."""
  return max(0, lookahead - LOOKAHEAD)


def with_later(
  items: Iterable[T],
  picture_of: Callable[[T], Picture | None],
  size_of: Callable[[T], int],
  count: int,
) -> Iterator[tuple[T, list[Picture]]]:
  """Adds to each item the pictures of those that follow.

  Pictures that are covered by more than half are left out, and those of another
  scene; `Propagator` says what a scene is.

  Args:
    items: in order.
    picture_of: the picture of an item; None if it has none.
    size_of: bytes that wait with an item; at most 512 MiB of them wait.
    count: how many items each one waits for; 0 means that none waits, and no
      pictures are taken.

  Yields:
    Every item, in order, with its later pictures, nearest first.
  """
  if not count:
    for item in items:
      yield item, []
    return
  is_cut = CutFinder()
  waiting: deque[_Waiting[T]] = deque()
  last: Picture | None = None
  scene = total = 0
  for item in items:
    picture = picture_of(item)
    if picture is not None and picture.visible.mean() < _HALF_SEEN:
      picture = None
    if picture is not None:
      if last is not None and (
        picture.image.shape != last.image.shape or is_cut(picture, last)
      ):
        scene += 1
      last = picture
    waiting.append(_Waiting(item, picture, scene, size_of(item)))
    total += waiting[-1].size
    while len(waiting) > count or (total > _MEMORY and len(waiting) > 1):
      total -= waiting[0].size
      yield _released(waiting)
  while waiting:
    yield _released(waiting)


def _released(waiting: deque[_Waiting[T]]) -> tuple[T, list[Picture]]:
  first = waiting.popleft()
  return first.item, [
    other.picture
    for other in waiting
    if other.picture is not None and other.scene == first.scene
  ]
