"""Takes occluders out of whole frames, wherever the background was seen."""

from collections.abc import Generator, Iterable
from dataclasses import replace

import numpy as np

from diffmvr_jax.inference.paste import (
  SOFTNESS,
  composite,
  feather,
  kept_where_unseen,
)
from diffmvr_jax.inference.stream import (
  RestoredFrame,
  SourceFrame,
  spread_of_confidence,
)


def clear_frames(
  frames: Iterable[tuple[SourceFrame, np.ndarray]],
  *,
  softness: float = SOFTNESS,
  with_spread: bool = False,
) -> Generator[RestoredFrame, None, None]:
  """Takes what the masks cover out of frames, as they come.

  What nobody has seen stays as it was filmed; towards it, what was seen fades.

  Args:
    frames: frames in order, each with its (h, w) uint8 mask, 1 on the occluder.
    softness: softness of the masks' borders, see `feather`. It should not be
      small, since an arm goes on where the mask of a hand ends.
    with_spread: whether to tell how sure each pixel is.

  Yields:
    Every frame, in order.
  """
  from data_prep.faces.propagation import Propagator

  propagate = Propagator()
  for frame, mask in frames:
    result = propagate(frame.image, mask)
    if not mask.any():
      yield RestoredFrame(source=frame, image=frame.image)
      continue
    alpha = feather(mask, softness)
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


def with_faces(
  cleared: Iterable[RestoredFrame], faces: Iterable[RestoredFrame]
) -> Generator[RestoredFrame, None, None]:
  """Puts restored faces into frames that were cleared around them.

  Args:
    cleared: frames as `clear_frames` gives them.
    faces: the same frames, of which only the faces were restored.

  Yields:
    Every frame, in order.
  """
  for whole, face in zip(cleared, faces, strict=True):
    if face.alpha is None or whole.alpha is None:
      yield face if whole.alpha is None else replace(whole, past=face.past)
      continue
    # A face's frame is its fill over what was filmed. What shines through it
    # becomes what was cleared.
    rest = 1 - face.alpha
    filmed = whole.source.image.astype(np.float32)
    image = face.image + rest[..., None] * (whole.image - filmed)
    spread = whole.spread
    if face.spread is not None and whole.spread is not None:
      spread = np.where(face.alpha > rest, face.spread, whole.spread)
    yield RestoredFrame(
      source=face.source,
      image=np.clip(np.round(image), 0, 255).astype(np.uint8),
      alpha=1 - rest * (1 - whole.alpha),
      spread=spread,
      past=face.past,
    )
