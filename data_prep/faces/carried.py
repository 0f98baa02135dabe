"""A frame carried to the present pose, and how well it fits there.

The numbers of equations are those of `propagation`.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.faces.flow import (
  FlowSearcher,
  enlarge,
  inside,
  motion,
  planes,
  sample,
  sample_mask,
  spread,
  targets,
)
from data_prep.faces.flow_prior import FlowPrior
from data_prep.faces.sightings import Picture

_TRUST_IN_PAINT = 0.1  # of a remembered frame's pixel that was covered, too
# Standard deviations of Gaussians over the longer side at the flow's scale.
_EXTENSION = 0.08  # of the flow under the mask
_LIGHT = 0.03  # G of equation (2), which is applied twice:
_WIDE_LIGHT = 0.15  # first widely, which carries far under the mask
_FIT = 0.06  # H of equation (3)
_LAMBDA = 0.1  # of equation (2): the correction fades away from what is seen


@dataclass(frozen=True, kw_only=True)
class Source:
  """A frame carried to the present; all at the flow's scale.

  Attributes:
    picture: what is carried.
    flow: (i, j, 2) float32 from the present to it, in pixels.
    small: (i, j, 3) float32, r_k as equation (2) leaves it.
    correction: (i, j, 3) float32, the second term of equation (2).
    error: (i, j) float32, equation (3); with a prior, and what the flow's
      uncertainty adds.
    known: (i, j) bool, where it shows what was seen.
    weight: (i, j) float32, equation (4) before it is normalised.
    steps: (i, j) float32, flow steps since the sighting.
  """

  picture: Picture
  flow: np.ndarray
  small: np.ndarray
  correction: np.ndarray
  error: np.ndarray
  known: np.ndarray
  weight: np.ndarray
  steps: np.ndarray

  def within(
    self, box: tuple[int, int, int, int], size: tuple[int, int]
  ) -> np.ndarray:
    """The source within a box of the whole frame, (height, width, 3) float32.

    Args:
      box: left, top, width and height.
      size: width and height of the frame.
    """
    height, width = self.flow.shape[:2]
    if (width, height) == size:
      return enlarge(self.small, size, box)
    scale = np.array([size[0] / width, size[1] / height], np.float32)
    flow = enlarge(self.flow, size, box) * scale
    where = targets(flow, box[:2])
    carried = sample(self.picture.image, where, cv2.INTER_CUBIC)
    return carried + enlarge(self.correction, size, box)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
  """What equations (2) and (3) need of the visible part, once per frame.

  Attributes:
    seen: (i, j, 3) float32, v.
    light: (i, j, 3) float32, 1 / (G ∗ v + λ).
    wide_light: likewise, for the wide G, and a λ ten times smaller.
    fit: (i, j) float32, 1 / (H ∗ v).
    near: (i, j) float32 weights of the mean near the mask; their sum is 1.
    doubt: (i, j) float32, variance of the flow, in squares of pixels; None
      without a prior.
  """

  seen: np.ndarray
  light: np.ndarray
  wide_light: np.ndarray
  fit: np.ndarray
  near: np.ndarray
  doubt: np.ndarray | None

  @classmethod
  def of(
    cls, visible: np.ndarray, prior: FlowPrior | None = None
  ) -> "Surroundings":
    """The surroundings in a frame.

    Args:
      visible: (i, j) float32, 1 where the frame is visible.
      prior: of the flow.
    """
    side = max(visible.shape)
    wide = spread(visible[..., None], _FIT * side)[..., 0]
    near = (1.02 - wide) * visible
    far = spread(visible[..., None], _WIDE_LIGHT * side)[..., 0]
    close = spread(visible[..., None], _LIGHT * side)[..., 0]
    return cls(
      seen=planes(visible),
      light=planes(1 / (close + np.float32(_LAMBDA))),
      wide_light=planes(1 / (far + np.float32(_LAMBDA / 10))),
      fit=1 / (wide + np.float32(1e-4)),
      near=near / (near.sum() + np.float32(1e-6)),
      doubt=None if prior is None else prior.variance(visible),
    )


def carry(
  search: FlowSearcher,
  now: Picture,
  then: Picture,
  around: Surroundings,
  trust: float,
  steps: np.ndarray | None = None,
  expected: np.ndarray | None = None,
) -> Source:
  """Carries a frame to the present; equations (2) to (4).

  Args:
    search: finds the flow.
    now: the present frame, what covers it painted over.
    then: the frame that is carried.
    around: of the present frame.
    trust: b_k.
    steps: (i, j) float32, flow steps that the pixels of `then` are old; None:
      its visible pixels alone are to be trusted, and they are fresh.
    expected: (i, j, 2) float32, the flow that is expected, see `motion`.
  """
  side = max(now.grey.shape)
  flow = motion(
    search,
    (now.grey, now.visible),
    (then.grey, then.visible if steps is None else then.known),
    _EXTENSION * side,
    expected,
  )
  where = targets(flow)
  small = sample(then.small, where, cv2.INTER_CUBIC)
  seen = around.seen
  difference = cv2.subtract(now.small, small, dtype=cv2.CV_32F)
  difference *= seen
  correction = spread(difference, _WIDE_LIGHT * side) * around.wide_light
  left = difference - seen * correction
  correction += spread(left, _LIGHT * side) * around.light
  left = difference - seen * correction
  squared = mean_square(left)
  error = spread(squared[..., None], _FIT * side)[..., 0] * around.fit
  error += 2 * float(np.vdot(squared, around.near))
  known = (sample_mask(then.known, where) > 0.5) & inside(where)
  weight = known * np.float32(trust)
  weight /= (error + 1) * np.sqrt(error + 1)
  if steps is None:
    visible = sample_mask(then.visible, where)
    weight *= _TRUST_IN_PAINT + (1 - _TRUST_IN_PAINT) * visible
    steps = np.ones_like(error)
  else:
    steps = sample(steps, where) + 1
  if around.doubt is not None:
    error += around.doubt * _slope(small)
  return Source(
    picture=then,
    flow=flow,
    small=small + correction,
    correction=correction,
    error=error,
    known=known,
    weight=weight,
    steps=steps,
  )


def glimpse(search: FlowSearcher, now: Picture, then: Picture) -> np.ndarray:
  """What a frame shows at the present pose, by its flow alone.

  Returns:
    (i, j, 3) uint8.
  """
  flow = motion(
    search,
    (now.grey, now.visible),
    (then.grey, then.known),
    _EXTENSION * max(now.grey.shape),
  )
  return sample(then.small, targets(flow))


def _slope(picture: np.ndarray) -> np.ndarray:
  """Mean square of what a picture changes in one pixel, (i, j) float32."""
  grey = cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32))
  x = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
  y = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
  return cv2.GaussianBlur((x * x + y * y) / 2, (0, 0), 2)


def mean_square(values: np.ndarray) -> np.ndarray:
  """Mean of the squares over three channels, (i, j) float32."""
  third = np.full((1, 3), 1 / 3, np.float32)
  return cv2.transform(np.square(values), third)


def painted_smoothly(small: np.ndarray, known: np.ndarray) -> np.ndarray:
  """Smooth colours for what nobody has seen.

  Args:
    small: (i, j, 3), a picture.
    known: (i, j, 1), 1 where it shows what was seen.

  Returns:
    (i, j, 3) float32, smooth everywhere.
  """
  side = max(small.shape)
  values = small.astype(np.float32) * known
  mean = values.sum((0, 1)) / (known.sum() + 1e-6)
  colour, total = mean * 1e-4, 1e-4
  for sigma in (0.02, 0.06, 0.2):  # the near above the far
    weight = (0.01 / sigma) ** 2
    colour = colour + weight * spread(values, sigma * side)
    total = total + weight * spread(known, sigma * side)
  return (colour / total).astype(np.float32)
