"""Real hands that pass in front of a face, rest on it, rub it, and leave.

A drop-in for `data_prep.occlusion.paste.Occlusion`. Coordinates are those of
the crop, in units of its side; times in seconds.
"""

import cv2
import numpy as np

from data_prep.occlusion.composite import blurred, disc
from data_prep.occlusion.paste import OcclusionConfig, compose, unit_to_pixels
from data_prep.occlusion.shapes import Skin
from data_prep.occlusion.trajectories import Passage, Trajectories

_COARSE = 64  # pixels of the grid that the head is marked on
_BLUR_STEP = 2.0  # pixels between two exposures of a moving hand
_MAX_BLUR_STEPS = 16
_SHUTTER = (0.25, 0.6)
_LEAST_ALPHA = 5  # of 255; less of a hand is not seen
_LEAST_SHADOW = 0.02  # likewise


class SpriteOcclusion:
  """What comes and goes in front of one clip's face.

  Args:
    config: kinds, ratios, durations; of the kinds, `sprites:DIR` are hands.
    seed: decides everything else.
    skin: of the person.
    face_outline: (k, 2) points around the face in its crop, in crop sides.
    fps: frames per second, for motion blur.
    resolution: of the crop in pixels; hands are drawn about as fine.
    objects_share: of passages in which a thing comes in place of a hand.
  """

  def __init__(
    self,
    config: OcclusionConfig,
    *,
    seed: int,
    skin: Skin,
    face_outline: np.ndarray,
    fps: float,
    resolution: int,
    objects_share: float = 0.08,
  ):
    rng = np.random.default_rng(seed)
    # Of its own, so that ways do not depend on how often frames are drawn.
    self._ways = Trajectories(
      config,
      rng.spawn(1)[0],
      skin=skin,
      face_outline=face_outline,
      resolution=resolution,
      objects_share=objects_share,
    )
    self._rng, self._fps = rng, fps
    head = np.zeros((_COARSE, _COARSE), np.uint8)
    hull = cv2.convexHull((face_outline * _COARSE).astype(np.float32))
    cv2.fillConvexPoly(head, hull.round().astype(np.int32), 1)
    # Shadows fall on the head, not on what is far behind it.
    head = cv2.dilate(head, disc(0.1 * _COARSE))
    self._near = cv2.GaussianBlur(255 * head, (0, 0), 0.04 * _COARSE)
    self._shutter = rng.uniform(*_SHUTTER)
    self._shadow = rng.uniform(0.0, 0.5)
    self._light = rng.normal([0, 0.8], [0.7, 0.4])
    self._sharper = float(rng.choice([1.0, rng.uniform(1.0, 1.4)]))
    self._softness: list[tuple[Passage, float]] = []
    self._first: np.ndarray | None = None
    self._grain: np.ndarray | None = None

  @property
  def course(self) -> str:
    """How the clip goes, one of `trajectories.COURSES`."""
    return self._ways.course

  def paste(
    self, image: np.ndarray, time: float, to_image: np.ndarray | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Puts what comes on an image; times must not decrease.

    Args:
      image: (h, w, 3) uint8.
      time: of the frame, in seconds.
      to_image: (2, 3) map from the unit crop to the image's pixels; None: the
        image is the crop.

    Returns:
      The occluded image, and its mask, (h, w) uint8: 1 on everything that
      changed.
    """
    if to_image is None:
      to_image = unit_to_pixels(image.shape[1])
    # A hand is lit as the picture is: its light changes alike.
    mean = np.array(cv2.mean(image)[:3]) + 4
    if self._first is None:
      self._first = mean
    self._gain = np.clip(mean / self._first, 0.6, 1.6)
    mask = np.zeros(image.shape[:2], np.uint8)
    pasted = image
    for passage in self._ways.at(time):
      pasted, changed = self._put(pasted, passage, time, to_image)
      mask |= changed
    return pasted, mask

  def _put(
    self,
    image: np.ndarray,
    passage: Passage,
    time: float,
    to_image: np.ndarray,
  ) -> tuple[np.ndarray, np.ndarray]:
    """One cut-out and its shadow on the image; the mask of both."""
    height, width = image.shape[:2]
    empty = np.zeros((height, width), np.uint8)
    soft = self._softness_for(passage, image, to_image)
    sprite = self._rendered(passage, time, to_image, (height, width), soft)
    if sprite is None:
      return image, empty
    alpha = cv2.extractChannel(sprite, 3)
    side = float(np.sqrt(abs(np.linalg.det(to_image[:, :2]))))
    sprite = self._grained(image, sprite)
    shadow = self._shadow_of(alpha, passage, side, to_image)
    mask = cv2.dilate((alpha > 0).astype(np.uint8), _CROSS)
    kept = 1 - alpha.astype(np.float32) / 255
    if shadow is not None:
      mask = cv2.bitwise_or(mask, (shadow > 0).astype(np.uint8))
      kept *= 1 - shadow
    mixed = image * kept[..., None] + sprite[..., :3]
    mixed = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, mixed, image), mask

  def _rendered(
    self,
    passage: Passage,
    time: float,
    to_image: np.ndarray,
    shape: tuple[int, int],
    soft: float,
  ) -> np.ndarray | None:
    """(h, w, 4) float32 premultiplied, blurred by its motion; None: unseen."""
    picture = passage.cutout.image
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    corners = corners * picture.shape[1::-1]

    def place(t: float) -> tuple[np.ndarray, np.ndarray]:
      placed = compose(to_image, passage.placement(t))
      return placed, corners @ placed[:, :2].T + placed[:, 2]

    half = 0.5 * self._shutter / self._fps
    # The arm's far end moves most, and is not seen.
    upper = np.s_[[0, 2]]
    moved = np.abs(place(time + half)[1] - place(time - half)[1])[upper].max()
    steps = int(np.clip(moved / _BLUR_STEP, 1, _MAX_BLUR_STEPS))
    times = time + half * (2 * np.arange(steps) + 1 - steps) / steps
    maps, ends = zip(*(place(t) for t in times), strict=True)
    ends = np.concatenate(ends)
    if (ends.max(0) < 0).any() or (ends.min(0) > shape[::-1]).any():
      return None
    total = np.zeros((*shape, 4), np.float32)
    for placed in maps:
      cv2.accumulate(cv2.warpAffine(picture, placed, shape[::-1]), total)
    total /= len(maps)
    if soft > 0.25:
      total = cv2.GaussianBlur(total, (0, 0), soft)
    total[..., :3] *= self._gain
    total[total[..., 3] < _LEAST_ALPHA] = 0
    return total if total[..., 3].any() else None

  def _softness_for(
    self, passage: Passage, image: np.ndarray, to_image: np.ndarray
  ) -> float:
    """Sigma of the blur that makes a cut-out as soft as the image."""
    for known, soft in self._softness:
      if known is passage:
        return soft
    wanted = _crispness(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    scale = passage.scale * float(np.sqrt(abs(np.linalg.det(to_image[:, :2]))))
    picture = passage.cutout.image
    size = [max(8, round(scale * n)) for n in picture.shape[1::-1]]
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGBA2GRAY)
    inside = cv2.erode(
      (picture[..., 3] > 250).astype(np.uint8), np.ones((5, 5))
    )
    soft = 0.0
    while soft < 2.0 and inside.any():
      blurred = cv2.GaussianBlur(grey, (0, 0), soft) if soft else grey
      if _crispness(blurred, inside) <= self._sharper * wanted:
        break
      soft += 0.3
    self._softness = [(passage, soft), *self._softness[:3]]
    return soft

  def _grained(self, image: np.ndarray, sprite: np.ndarray) -> np.ndarray:
    """As noisy as the image."""
    if self._grain is None:
      sigma = min(_noise_of(image), 8.0)
      grain = np.random.default_rng(0).normal(size=(257, 263, 1))
      colour = np.random.default_rng(1).normal(size=(257, 263, 3))
      self._grain = (sigma * (0.8 * grain + 0.5 * colour)).astype(np.float32)
    height, width = sprite.shape[:2]
    top, left = self._rng.integers(0, 128, 2)
    rows = (top + np.arange(height)) % 257
    columns = (left + np.arange(width)) % 263
    grain = self._grain[rows[:, None], columns]
    result = sprite.copy()
    result[..., :3] += grain * (sprite[..., 3:] / 255)
    return result

  def _shadow_of(
    self,
    alpha: np.ndarray,
    passage: Passage,
    side: float,
    to_image: np.ndarray,
  ) -> np.ndarray | None:
    """(h, w) float32 share of light that is lost; 0 where it is not seen."""
    if self._shadow < 0.05:
      return None
    shift = 1.2 * passage.height * side * self._light
    moving = np.column_stack([np.eye(2), shift])
    moved = cv2.warpAffine(alpha, moving, alpha.shape[::-1])
    blur = max(0.6, (0.006 + 0.55 * passage.height) * side)
    soft = blurred(moved, blur) * np.float32(self._shadow / 255)
    grid = to_image @ np.diag([1 / _COARSE, 1 / _COARSE, 1.0])
    near = cv2.warpAffine(self._near, grid, alpha.shape[::-1])
    soft *= near / np.float32(255)
    # Fades to nothing where the mask ends.
    return np.clip(soft - _LEAST_SHADOW, 0, None) * np.float32(
      1 / (1 - _LEAST_SHADOW)
    )


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def _crispness(grey: np.ndarray, inside: np.ndarray | None) -> float:
  """How much finest detail there is, over what is twice as coarse."""
  grey = grey.astype(np.float32)
  fine = cv2.GaussianBlur(grey, (0, 0), 0.7)
  coarse = cv2.GaussianBlur(grey, (0, 0), 1.4)
  first, second = cv2.absdiff(grey, fine), cv2.absdiff(fine, coarse)
  if inside is not None:
    first, second = first[inside > 0], second[inside > 0]
  return float(first.mean() / max(float(second.mean()), 1e-3))


def _noise_of(image: np.ndarray) -> float:
  """Standard deviation of the finest detail of smooth places."""
  grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
  kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
  detail = np.abs(cv2.filter2D(grey, -1, kernel))
  return float(np.percentile(detail, 40) / 0.52)
