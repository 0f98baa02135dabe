"""How a restored video moves, by the flow of the true one."""

from dataclasses import dataclass

import jax
import numpy as np

from diffmvr_jax.metrics.accumulators import WeightedMean
from diffmvr_jax.metrics.flow import backward_flow
from diffmvr_jax.metrics.temporal import temporal_consistency, warping_error

_temporal, _warping = jax.jit(temporal_consistency), jax.jit(warping_error)


@dataclass(frozen=True, kw_only=True)
class TrueStretch:
  """How the truth moves in some frames, and in the one before them.

  Attributes:
    mask: (n, h, w, 1) uint8, 1 on the occlusion; n is at least 2.
    flow: (n − 1, h, w, 2) float32, to the frame before, see `backward_flow`.
    visible: (n − 1, h, w, 1) uint8, 1 where the flow is known.
    means: what `measured` gives for the truth itself.
  """

  mask: np.ndarray
  flow: np.ndarray
  visible: np.ndarray
  means: dict[str, WeightedMean]

  def measured(self, restored: np.ndarray) -> dict[str, WeightedMean]:
    """TC and the warping error, whole and in the mask.

    Args:
      restored: (n, h, w, 3) uint8, the same frames.
    """
    return _measured(restored, self.mask, self.flow, self.visible)


class TrueMotion:
  """Follows the motion of one true video, which all methods share.

  Example:
    >>> motion = TrueMotion()
    >>> black = np.zeros((1, 16, 16, 3), np.uint8)
    >>> motion.next(black, black[..., :1]) is None  # one frame does not move
    True
    >>> motion.next(black, black[..., :1]).flow.shape
    (1, 16, 16, 2)
  """

  def __init__(self):
    self._last: tuple[np.ndarray, np.ndarray] | None = None

  def next(self, target: np.ndarray, mask: np.ndarray) -> TrueStretch | None:
    """Takes the video's next frames; returns None if there was only one yet.

    Args:
      target: (n, h, w, 3) uint8, n at least 1.
      mask: (n, h, w, 1) uint8, 1 on the occlusion.
    """
    if self._last is not None:
      target = np.concatenate([self._last[0], target])
      mask = np.concatenate([self._last[1], mask])
    self._last = target[-1:], mask[-1:]
    if len(mask) < 2:
      return None
    flow, visible = backward_flow(target)
    means = _measured(target, mask, flow, visible)
    return TrueStretch(mask=mask, flow=flow, visible=visible, means=means)


def _measured(
  clip: np.ndarray, mask: np.ndarray, flow: np.ndarray, visible: np.ndarray
) -> dict[str, WeightedMean]:
  pairs = len(mask) - 1
  covered = np.maximum(mask[1:], mask[:-1])  # in either frame of a pair
  pixels, frames = int(covered.sum()), int(covered.any((1, 2, 3)).sum())
  means = {}

  def add(name: str, total: float, weight: float | int, frames: int) -> None:
    if weight:
      means[name] = WeightedMean(
        total=total, weight=float(weight), frames=frames
      )

  tc = float(_temporal(clip))
  add("tc", tc * pairs, pairs, pairs)
  error, weight = _warping(clip, flow, visible)
  add("warp", float(error), float(weight), pairs)
  if pixels:
    add("tc_mask", float(_temporal(clip, mask)) * pixels, pixels, frames)
    error, weight = _warping(clip, flow, visible * mask[1:])
    add("warp_mask", float(error), float(weight), frames)
  return means
