"""Remembered frames, few and unlike each other, and which fit the present."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

_SIDE = 32  # pixels of a thumbnail's longer side
_ALIKE = 1.5  # mean grey levels between thumbnails of one view
_OUTLIER = 40.0  # grey levels, beyond which a misfit grows no further
_BEYOND = 0.05  # weight of what lies far from the covered part
_MOSTLY_SEEN = 0.005  # share of a frame that may be covered
_HALF_SEEN = 0.5
_WAIT = 15  # frames after which a partly covered one is remembered


@dataclass(frozen=True, kw_only=True)
class Picture:
  """A frame as the propagation sees it.

  Attributes:
    number: number of the frame.
    image: (h, w, 3) uint8, what covers it painted over.
    valid: (h, w) uint8, 1 where it is visible or its paint was once seen.
    small: (i, j, 3) uint8, the same at the flow's scale.
    grey: (i, j) uint8.
    visible: (i, j) float32, 1 where nothing covers it.
    known: (i, j) float32, `valid` at the flow's scale.
    thumbnail: (a, b) float32 grey levels.
    thumbnail_visible: (a, b) float32, the share that is visible.
  """

  number: int
  image: np.ndarray
  valid: np.ndarray
  small: np.ndarray
  grey: np.ndarray
  visible: np.ndarray
  known: np.ndarray
  thumbnail: np.ndarray
  thumbnail_visible: np.ndarray

  def painted(
    self,
    small: np.ndarray,
    *,
    image: np.ndarray | None = None,
    valid: np.ndarray | None = None,
    known: np.ndarray | None = None,
  ) -> "Picture":
    """Returns the same frame, painted anew where it is covered.

    Args:
      small: (i, j, 3) uint8, painted.
      image: (h, w, 3) uint8; None means as it is.
      valid: (h, w) uint8; None means as it is.
      known: (i, j) float32; None means as it is.
    """
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return replace(
      self,
      image=self.image if image is None else image,
      valid=self.valid if valid is None else valid,
      known=self.known if known is None else known,
      small=small,
      grey=grey,
      thumbnail=thumbnail(grey),
    )


def picture_of(
  image: np.ndarray, visible: np.ndarray, size: tuple[int, int], number: int
) -> Picture:
  """Takes a frame, what covers it still there.

  Args:
    image: (h, w, 3) uint8.
    visible: (h, w) uint8, 1 where nothing covers it.
    size: width and height at the flow's scale.
    number: number of the frame.
  """
  small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
  share = cv2.resize(
    visible.astype(np.float32), size, interpolation=cv2.INTER_AREA
  )
  seen = (share > 0.999).astype(np.float32)
  grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
  return Picture(
    number=number,
    image=image,
    valid=visible,
    small=small,
    grey=grey,
    visible=seen,
    known=seen,
    thumbnail=thumbnail(grey),
    thumbnail_visible=thumbnail(seen),
  )


def thumbnail(picture: np.ndarray) -> np.ndarray:
  """A picture at 32 pixels on the longer side, float32."""
  height, width = picture.shape[:2]
  scale = _SIDE / max(height, width)
  size = (max(2, round(width * scale)), max(2, round(height * scale)))
  small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
  return small.astype(np.float32)


class Sightings:
  """A bounded memory of frames.

  A frame that looks like a remembered one takes its place, so that the newest
  of each view is kept; when the memory is full, the older of the two most
  similar frames goes.

  Args:
    frames: how many are remembered at most.
  """

  def __init__(self, frames: int):
    self._frames = frames
    self.clear()

  def clear(self) -> None:
    """Forgets all."""
    self._kept: list[Picture] = []
    self._ages: list[int] = []
    self._clean: list[bool] = []
    self._time = 0
    self._added = -_WAIT
    self.latest: Picture | None = None

  def __len__(self) -> int:
    return len(self._kept)

  def best(
    self, now: Picture, count: int, later: Sequence[Picture] = ()
  ) -> list[Picture]:
    """The frames that fit the present one best, best first.

    The misfit of a frame k is that of the thumbnails, around the covered
    part above all, but for most of the difference in brightness,

      (1)  e_k = Σ n v min(|x_k − x − 0.7 mean(x_k − x)|, 40)

    with v the visible part and n its nearness to the covered part. It grows
    with the share of the covered part that is covered in frame k, too.

    Args:
      now: the present frame.
      count: how many frames at most.
      later: frames that come later, which can be chosen as well as those that
        are remembered; of several that look alike, one is.
    """
    known = [*self._kept, *later]
    if not known:
      return []
    seen = now.thumbnail_visible
    near = cv2.GaussianBlur(1 - seen, (0, 0), _SIDE / 10)
    weights = (near + _BEYOND) * seen
    total = weights.sum() + 1e-6
    difference = np.stack([x.thumbnail for x in known]) - now.thumbnail
    mean = (difference * weights).sum((1, 2), keepdims=True) / total
    misfit = np.minimum(np.abs(difference - 0.7 * mean), _OUTLIER)
    misfit = (misfit * weights).sum((1, 2)) / total
    visible = np.stack([x.thumbnail_visible for x in known])
    wanted = 1 - seen
    hidden = ((1 - visible) * wanted).sum((1, 2)) / (wanted.sum() + 1e-6)
    order = np.argsort((misfit + 1) * (1 + 4 * hidden), kind="stable")
    best: list[Picture] = []
    for i in order:
      if len(best) == count:
        break
      is_later = i >= len(self._kept)
      if not is_later or all(_gap(known[i], x) >= _ALIKE for x in best):
        best.append(known[i])
    return best

  def remember(self, now: Picture) -> None:
    """Takes a frame into the memory, if it shows enough."""
    self._time += 1
    covered = 1 - float(now.visible.mean())
    clean = covered <= _MOSTLY_SEEN
    waited = self._time - self._added >= _WAIT
    if not clean and not (waited and covered <= _HALF_SEEN):
      return
    self._added = self._time
    if clean or self.latest is None:
      self.latest = now
    gaps = [_gap(now, x) for x in self._kept]
    if gaps and min(gaps) < _ALIKE:
      place = int(np.argmin(gaps))
      if clean or not self._clean[place]:
        self._kept[place] = now
        self._ages[place], self._clean[place] = self._time, clean
      return
    self._kept.append(now)
    self._ages.append(self._time)
    self._clean.append(clean)
    if len(self._kept) > self._frames:
      self._drop(self._most_alike())

  def _most_alike(self) -> int:
    """The older of the two frames that are most alike."""
    views = np.stack([x.thumbnail.ravel() for x in self._kept])
    nearest: tuple[float, int] = (np.inf, 0)
    for i in range(1, len(views)):
      gaps = np.abs(views[:i] - views[i]).mean(1)
      j = int(np.argmin(gaps))
      older = min(i, j, key=lambda place: self._ages[place])
      nearest = min(nearest, (float(gaps[j]), older))
    return nearest[1]

  def _drop(self, place: int) -> None:
    for kept in (self._kept, self._ages, self._clean):
      kept.pop(place)


def _gap(one: Picture, other: Picture) -> float:
  """How unlike two pictures are, in mean grey levels of their thumbnails."""
  return float(np.abs(one.thumbnail - other.thumbnail).mean())
