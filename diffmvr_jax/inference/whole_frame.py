"""Takes occluders out of whole frames, wherever the background was seen."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from diffmvr_jax.inference.paste import composite, feather, kept_where_unseen
from diffmvr_jax.inference.stream import (
  RestoredFrame,
  SourceFrame,
  spread_of_confidence,
)

# Shares of the frame's longer side: what a mask grows by, against halos and
# motion blur, and the softness of its border.
_GROWTH = 1 / 120
_SOFTNESS = 1 / 300


def clear_frames(
  frames: Iterable[tuple[SourceFrame, np.ndarray]],
  *,
  softness: float = _SOFTNESS,
  with_spread: bool = False,
) -> Iterator[RestoredFrame]:
  """Takes what the masks cover out of frames, as they come.

  What nobody has seen stays as it was filmed; towards it, what was seen fades.

  Args:
    frames: frames in order, each with its (h, w) uint8 mask, 1 on the occluder.
    softness: softness of the masks' borders, see `feather`.
    with_spread: whether to tell how sure each pixel is.

  Yields:
    Every frame, in order.
  """
  from data_prep.faces.propagation import Propagator

  propagate = Propagator()
  for frame, mask in frames:
    grown = _grown(mask) if mask.any() else mask
    result = propagate(frame.image, grown)
    if not mask.any():
      yield RestoredFrame(source=frame, image=frame.image)
      continue
    alpha = feather(grown, softness)
    alpha *= kept_where_unseen(result.valid, softness)
    spread = None
    if with_spread:
      levels = np.round(255 * result.confidence * result.valid)
      spread = spread_of_confidence(levels.astype(np.uint8))
      spread = np.where(alpha > 0, spread, 0)
    yield RestoredFrame(
      source=frame,
      image=composite(frame.image, result.image, alpha),
      alpha=alpha,
      spread=spread,
    )


def _grown(mask: np.ndarray) -> np.ndarray:
  side = 2 * round(_GROWTH * max(mask.shape)) + 1
  kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
  return cv2.dilate(mask, kernel)
