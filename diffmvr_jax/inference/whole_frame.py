"""Takes occluders out of whole frames, wherever the background was seen."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count, tee
from typing import TYPE_CHECKING

import cv2
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
  StreamOptions,
  spread_of_confidence,
)

if TYPE_CHECKING:
  from data_prep.clip import Clip, Frame
  from data_prep.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Faces:
  """How the faces of a clip are restored.

  Attributes:
    observe: finds the face of each frame, given the mask of each.
    fill: restores what was observed.
  """

  observe: Callable[["Clip", Iterable[np.ndarray]], Iterable[SourceFrame]]
  fill: Callable[[Iterable[SourceFrame]], Iterable[RestoredFrame]]


def whole_frames(
  recipe: "Recipe",
  clip: "Clip",
  time_base: Fraction,
  options: StreamOptions,
  *,
  masks: Iterable[np.ndarray] | None = None,
  faces: Faces | None = None,
) -> Generator[RestoredFrame, None, None]:
  """Takes what covers anything out of the whole frames of a clip.

  What a detector has found grows over what has changed beside it, such as the
  arm of a hand, but not within faces, which change by themselves.

  Args:
    recipe: says how occluders are found.
    clip: the video.
    time_base: seconds per unit of the timestamps of what is yielded.
    options: softness, and whether to tell how sure each pixel is.
    masks: masks of shape (h, w), one for each frame; None means that the
      occluder is searched for.
    faces: restores the faces; None means that they are treated as the rest of
      the frame is.

  Returns:
    Every frame, in order.
  """
  from data_prep.detectors.changed import with_what_changed
  from data_prep.faces.later import frames_looked_at

  searched = masks is None and recipe.searches
  ours, own, theirs, again = tee(recipe.frames_and_masks(clip, masks), 4)
  covered: Iterator[tuple[Frame, np.ndarray]] = ours
  if searched:
    covered = with_what_changed(ours, causal=recipe.lookahead == 0)
  observed: Iterator[SourceFrame] = iter(())
  if faces is not None:
    same = replace(clip, frames=lambda: (frame for frame, _ in theirs))
    # Not the restored frames, of which many would wait.
    observed, seen = tee(faces.observe(same, (mask for _, mask in again)))
    if searched:
      covered = _outside_faces(covered, (mask for _, mask in own), seen)
  cleared = clear_frames(
    (
      (SourceFrame(frame.image, int(frame.time / time_base), None), mask)
      for frame, mask in covered
    ),
    softness=options.softness,
    with_spread=options.samples > 1,
    later=frames_looked_at(recipe.lookahead),
  )
  return cleared if faces is None else with_faces(cleared, faces.fill(observed))


def _outside_faces(
  grown: Iterable[tuple["Frame", np.ndarray]],
  found: Iterable[np.ndarray],
  faces: Iterable[SourceFrame],
) -> Iterator[tuple["Frame", np.ndarray]]:
  """Takes the masks as they were found within faces, and grown elsewhere."""
  from data_prep.faces import crop
  from data_prep.faces.landmarks import oval

  for (frame, mask), own, face in zip(grown, found, faces, strict=True):
    record = face.record
    if record is not None and len(record.landmarks):
      to_frame = crop.invert(record.crop_transform)
      outline = crop.apply(to_frame, oval(record.landmarks))
      hull = cv2.convexHull(outline.round().astype(np.int32))
      within = cv2.fillConvexPoly(np.zeros_like(mask), hull, 1)
      mask = np.where(within > 0, own, mask)
    yield frame, mask


def clear_frames(
  frames: Iterable[tuple[SourceFrame, np.ndarray]],
  *,
  softness: float = SOFTNESS,
  with_spread: bool = False,
  later: int = 0,
) -> Generator[RestoredFrame, None, None]:
  """Takes what the masks cover out of frames, as they come.

  What nobody has seen stays as it was filmed; towards it, what was seen fades.

  Args:
    frames: frames in order, each with its (h, w) uint8 mask, 1 on the occluder.
    softness: softness of the masks' borders, see `feather`. It should not be
      small, since an arm goes on where the mask of a hand ends.
    with_spread: whether to tell how sure each pixel is.
    later: how many frames, which may show what is covered now, a frame waits
      for.

  Yields:
    Every frame, in order.
  """
  from data_prep.faces.later import with_later
  from data_prep.faces.propagation import Propagator

  propagate, numbers = Propagator(), count()
  for (frame, mask), pictures in with_later(
    frames,
    lambda item: propagate.picture(item[0].image, item[1], next(numbers)),
    # The frame, its picture, and masks of both.
    lambda item: 2 * (item[0].image.nbytes + item[1].nbytes),
    later,
  ):
    result = propagate(frame.image, mask, later=pictures)
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
