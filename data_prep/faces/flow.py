"""Dense motion between two frames of which parts are covered.

A flow f of a picture x against a picture y says where each pixel of x is
found in y: x(p) shows what y(p + f(p)) shows. So pictures are carried by
sampling, and never by scattering.
"""

from functools import lru_cache

import cv2
import numpy as np

from data_prep.faces.flow_prior import FlowPrior

# 1 / σ² of equation (1), in grey levels.
_SHARPNESS = 1 / 16**2
_KEPT = np.float32(0.9)  # share of the expected flow


class FlowSearcher:
  """DIS optical flow (Kroeger et al. 2016), down to every other pixel.

  Searching down to single pixels takes three times as long and gave nothing.

  Args:
    prior: completes the flow under what covers a face, if the pictures are
      crops of one face.
    quick: whether a coarse flow will do, in a seventh of the time.
  """

  def __init__(self, prior: FlowPrior | None = None, *, quick: bool = False):
    self.prior = prior
    if quick:
      self._search = cv2.DISOpticalFlow_create(
        cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST
      )
      return
    self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    self._search.setFinestScale(1)
    self._search.setGradientDescentIterations(12)
    self._search.setVariationalRefinementIterations(3)

  def __call__(self, now: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The flow between (h, w) uint8 pictures, (h, w, 2) float32, in pixels."""
    # OpenCV's stubs lack that the output may be None, and be made.
    return self._search.calc(now, then, None)  # pyright: ignore


def motion(
  search: FlowSearcher,
  now: tuple[np.ndarray, np.ndarray],
  then: tuple[np.ndarray, np.ndarray],
  sigma: float,
  expected: np.ndarray | None = None,
) -> np.ndarray:
  """Flow from one picture to another, extended under what covers them.

  With v the visible parts and f the flow that was found,

    (1)  w(p) = v_now(p) v_then(p + f) exp(−(now(p) − then(p + f))² / σ²)
    (2)  F = w f + (1 − w) (G ∗ w f) / (G ∗ w)

  with σ of 16 grey levels and G a Gaussian. With a prior, the completed flow
  (`FlowPrior.complete`) takes the place of the last fraction. If a flow e is
  expected, 0.9 e is taken away before it is completed, and added again: what
  was seen to move otherwise than its surroundings goes on doing so, and this
  is forgotten little by little.

  Args:
    search: finds the flow.
    now: (h, w) uint8 grey picture and (h, w) float32, 1 where it is visible.
      What covers it must be painted over with something plausible, or its
      edges pull the flow beside them along.
    then: likewise, the picture that is looked in.
    sigma: standard deviation of G, in pixels.
    expected: (h, w, 2) float32, in pixels; it counts only with a prior.

  Returns:
    (h, w, 2) float32, in pixels.
  """
  flow = search(now[0], then[0])
  where = targets(flow)
  difference = cv2.subtract(now[0], sample(then[0], where), dtype=cv2.CV_32F)
  weights = cv2.exp(cv2.multiply(difference, difference, scale=-_SHARPNESS))
  weights *= now[1]
  weights *= sample_mask(then[1], where) > 0.99
  if search.prior is not None:
    if expected is None:
      completed = search.prior.complete(flow, weights)
    else:
      kept = _KEPT * expected
      completed = kept + search.prior.complete(flow - kept, weights)
    # Whole planes, since numpy is slow across channels.
    return completed + cv2.merge([weights, weights]) * (flow - completed)
  x, y = cv2.split(flow)
  # One blur for (w f, w).
  wide = spread(cv2.merge([weights * x, weights * y, weights]), sigma)
  wide_x, wide_y, total = cv2.split(wide)
  share = (1 - weights) / (total + np.float32(1e-6))
  return cv2.merge([weights * x + share * wide_x, weights * y + share * wide_y])


def planes(weights: np.ndarray) -> np.ndarray:
  """(h, w) weights for each of three colours, (h, w, 3)."""
  return cv2.merge([weights, weights, weights])


def spread(values: np.ndarray, sigma: float) -> np.ndarray:
  """A Gaussian blur, computed as coarsely as it will be smooth.

  Args:
    values: (h, w, c) float32.
    sigma: standard deviation, in pixels.

  Returns:
    (h, w, c) float32.
  """
  height, width = values.shape[:2]
  # Powers of two, since whole factors shrink several times faster.
  step = 2 ** max(0, round(np.log2(max(sigma, 1) / 2)))
  coarse = (max(1, width // step), max(1, height // step))
  small = cv2.resize(values, coarse, interpolation=cv2.INTER_AREA)
  small = cv2.GaussianBlur(
    small, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE
  )
  wide = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
  return wide.reshape(values.shape)


def composed(flow: np.ndarray, onward: np.ndarray) -> np.ndarray:
  """The flow past a picture: first to it, then from it onward.

  Args:
    flow: (h, w, 2) float32 to the picture, in pixels.
    onward: (h, w, 2) float32 from the picture, in pixels.

  Returns:
    (h, w, 2) float32, in pixels.

  Example:
    >>> right = np.full((8, 8, 2), (1.0, 0.0), np.float32)
    >>> composed(right, 2 * right)[0, 0].tolist()
    [3.0, 0.0]
  """
  return flow + sample(onward, targets(flow))


def targets(flow: np.ndarray, corner: tuple[int, int] = (0, 0)) -> np.ndarray:
  """Where a flow points: (h, w, 2) float32 pixels x and y.

  Args:
    flow: (h, w, 2) float32, of a part of the picture.
    corner: left and top of that part.
  """
  where = flow + _grid(*flow.shape[:2])
  return where + np.array(corner, np.float32) if any(corner) else where


def sample(
  picture: np.ndarray,
  where: np.ndarray,
  interpolation: int = cv2.INTER_LINEAR,
) -> np.ndarray:
  """What a picture shows at some places; its border is continued.

  Args:
    picture: (H, W) or (H, W, c).
    where: (h, w, 2) float32, see `targets`.
    interpolation: OpenCV's flag.

  Returns:
    (h, w) or (h, w, c).
  """
  return cv2.remap(
    picture, where, None, interpolation, borderMode=cv2.BORDER_REPLICATE
  )


def sample_mask(mask: np.ndarray, where: np.ndarray) -> np.ndarray:
  """As `sample`, of (h, w) float32 that is often 1 everywhere."""
  if mask.min() == 1:
    return np.ones(where.shape[:2], np.float32)
  return sample(mask, where)


def inside(where: np.ndarray, margin: float = 2.0) -> np.ndarray:
  """(h, w) bool: the places within a picture of this size, or hardly beside."""
  height, width = where.shape[:2]
  low, high = -margin, margin - 1
  return cv2.inRange(where, (low, low), (width + high, height + high)) > 0


def enlarge(
  field: np.ndarray, size: tuple[int, int], box: tuple[int, int, int, int]
) -> np.ndarray:
  """A part of a field, resampled as if the field were enlarged.

  Args:
    field: (h, w) or (h, w, c) float32; values stay as they are.
    size: width and height that it is enlarged to.
    box: left, top, width and height of the part, after enlarging.
  """
  height, width = field.shape[:2]
  left, top, part_width, part_height = box
  if (width, height) == size:
    return field[top : top + part_height, left : left + part_width]
  x, y = width / size[0], height / size[1]
  # Pixel centres are at integers.
  back = np.array(
    [
      [x, 0, (left + 0.5) * x - 0.5],
      [0, y, (top + 0.5) * y - 0.5],
    ]
  )
  return cv2.warpAffine(
    field,
    back,
    (part_width, part_height),
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    borderMode=cv2.BORDER_REPLICATE,
  )


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> np.ndarray:
  """(h, w, 2) float32, the pixels' x and y."""
  y, x = np.mgrid[:height, :width].astype(np.float32)
  return np.stack([x, y], axis=-1)
