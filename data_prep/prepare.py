"""From a clip to frame records: crop, occlusion, guidance.

Both the export of a training set and the restoration of a single video go
through `prepare`. It is a stream: memory does not grow with the video.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from data_prep.detectors.find_masks import find_masks
from data_prep.detectors.interface import Detector
from data_prep.faces import crop
from data_prep.faces.guidance_images import (
  PastBank,
  face_occlusion,
  sharpness,
  symmetric_image,
)
from data_prep.faces.landmarks import cheek
from data_prep.faces.track import LOOKAHEAD, FaceFinder, TrackedFace, track
from data_prep.occlusion.paste import Occlusion, OcclusionConfig
from data_prep.occlusion.shapes import Skin
from data_prep.occlusion.sprites import SpriteOcclusion
from data_prep.sources import Clip, Frame
from diffmvr_jax.data.record_codec import FrameRecord

# A found mask that covers less of the face than this is none.
MIN_OCCLUSION = 0.005


@dataclass(frozen=True)
class SkippedFrame:
  """A frame that gets no record."""

  frame_index: int
  reason: str


@dataclass(frozen=True, kw_only=True)
class Pasted:
  """Synthetic occlusion: records get a target."""

  config: OcclusionConfig
  seed: int

  def start(
    self, fps: Fraction, image: np.ndarray, tracked: TrackedFace
  ) -> Occlusion | SpriteOcclusion:
    """Begins with the first crop in which there is a face.

    Args:
      fps: frames per second.
      image: (size, size, 3) uint8 crop.
      tracked: its face.
    """
    kind = SpriteOcclusion if self.config.has_sprites else Occlusion
    return kind(
      self.config,
      seed=self.seed,
      skin=_skin(image, tracked),
      face_outline=(tracked.outline + 0.5) / len(image),
      fps=float(fps),
      resolution=len(image),
    )


@dataclass(frozen=True, kw_only=True)
class Found:
  """Real occlusion: records get no target.

  Attributes:
    detector: of the occluder.
    as_boxes: take its bounding boxes, not its outlines.
    dilation: pixels of the video by which the mask grows.
  """

  detector: Detector
  as_boxes: bool = False
  dilation: int = 0


def prepare(
  clip: Clip,
  *,
  size: int,
  find_face: Detector,
  occlusion: Pasted | Found,
  which_face: str | int = "largest",
  lookahead: int = LOOKAHEAD,
) -> Iterator[FrameRecord | SkippedFrame]:
  """Yields the records of a clip, frame by frame.

  Args:
    clip: the video.
    size: side of the crops, in pixels.
    find_face: detector of the face.
    occlusion: paste something, or find what is there.
    which_face: as in `FaceFinder`.
    lookahead: frames that are awaited before one comes out; fewer than
      `LOOKAHEAD` make the crop less steady, and 0 also leaves gaps between
      finds of the occluder open.

  Yields:
    Every frame of the clip, in order: its record, or why it has none.

  Raises:
    InputError: the video is damaged; a detector's complaint.
  """
  finder = FaceFinder(find_face, which_face)
  bank = PastBank()
  pasting: Occlusion | SpriteOcclusion | None = None
  masked = _masked(clip.frames(), occlusion, causal=lookahead == 0)
  observed = (
    ((frame, mask), finder(frame.image, frame.index)) for frame, mask in masked
  )
  for (frame, mask), tracked in track(observed, size, lookahead):
    if tracked is None:
      yield SkippedFrame(
        frame.index,
        f"no face within {LOOKAHEAD} frames before and {lookahead} after",
      )
      continue
    target = None
    image = crop.warp(frame.image, tracked.transform, size)
    if isinstance(occlusion, Pasted):
      target = image
      if pasting is None:
        pasting = occlusion.start(clip.fps, target, tracked)
      image, mask = pasting.paste(target, float(frame.time))
    else:
      mask = crop.warp_mask(mask, tracked.transform, size)
    covered = face_occlusion(mask, tracked.outline)
    if target is None and covered < MIN_OCCLUSION:
      mask[:] = 0
    symmetric = symmetric_image(image, mask, tracked.landmarks)
    yield FrameRecord(
      video_id=clip.video_id,
      frame_index=frame.index,
      fps=clip.fps,
      time=frame.time,
      image=image,
      target=target,
      mask=mask,
      symmetric=symmetric.image,
      symmetric_mask=symmetric.unknown,
      symmetric_valid=symmetric.valid,
      past_index=bank.update(
        frame.index,
        # What is pasted beside the face spoils the crop as well.
        occlusion=max(covered, float(mask.mean())),
        sharpness=sharpness(image, tracked.outline),
      ),
      crop_transform=tracked.transform,
      landmarks=tracked.landmarks,
      source_path=clip.path,
      source_sha256=clip.digest,
    )


def _masked(
  frames: Iterator[Frame], occlusion: Pasted | Found, *, causal: bool
) -> Iterator[tuple[Frame, np.ndarray]]:
  if not isinstance(occlusion, Found):
    nothing = np.zeros((0, 0), np.uint8)
    return ((frame, nothing) for frame in frames)
  masked = find_masks(
    frames, occlusion.detector, as_boxes=occlusion.as_boxes, causal=causal
  )
  if not occlusion.dilation:
    return masked
  side = 2 * occlusion.dilation + 1
  kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
  return ((frame, cv2.dilate(mask, kernel)) for frame, mask in masked)


def _skin(image: np.ndarray, tracked: TrackedFace) -> Skin:
  """Skin of a crop: the cheeks, or the middle of a face without landmarks."""
  if len(tracked.landmarks):
    region = cheek(tracked.landmarks)
  else:
    low, high = tracked.outline.min(0), tracked.outline.max(0)
    region = np.concatenate([low + 0.35 * (high - low), high])
    region[2:] = low + 0.65 * (high - low)
  return Skin.sample(image, region)
