"""Turns a clip into frame records: crops, occlusion masks, guidance images.

Both the export of a training set and the restoration of a single video go
through `prepare`. Frames stream through it, so that memory does not grow with
the video.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import cv2
import numpy as np

from data_prep.clip import Clip, Frame
from data_prep.detections import (
  CropOccluder,
  Detector,
  bounding_box,
  box_mask,
  boxes_around,
)
from data_prep.detectors.find_masks import find_masks, with_neighbours
from data_prep.faces import crop
from data_prep.faces.aligned import LOOKS, Aligned, AlignedGuidance
from data_prep.faces.finder import FaceFinder
from data_prep.faces.flow_prior import FlowPrior
from data_prep.faces.guidance_images import (
  PastFrameChooser,
  face_occlusion,
  sharpness,
  symmetric_image,
)
from data_prep.faces.landmarks import cheek
from data_prep.faces.later import frames_looked_at, with_later
from data_prep.faces.sightings import Picture
from data_prep.faces.track import LOOKAHEAD, TrackedFace, track
from data_prep.occlusion.paste import Occlusion, OcclusionConfig
from data_prep.occlusion.shapes import Skin
from data_prep.occlusion.sprites import SpriteOcclusion
from data_prep.stills import at_rest
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.media.ahead import ahead
from diffmvr_jax.media.pace import Pace

# A mask that covers a smaller share of the face counts as empty.
MIN_OCCLUSION = 0.005


@dataclass(frozen=True)
class SkippedFrame:
  """A frame that gets no record, with the reason."""

  frame_index: int
  reason: str


@dataclass(frozen=True, kw_only=True)
class SyntheticOcclusion:
  """Something is pasted over the face, so that records get a target.

  Attributes:
    config: what is pasted, and how long it stays.
    seed: decides everything that the config leaves open.
    as_boxes: whether the box around each thing becomes the mask.
  """

  config: OcclusionConfig
  seed: int
  as_boxes: bool = False

  def start(
    self, fps: Fraction, image: np.ndarray, tracked: TrackedFace
  ) -> Occlusion | SpriteOcclusion:
    """Returns what pastes over the face of one clip.

    Args:
      fps: frames per second.
      image: (size, size, 3) uint8, the first crop of the clip with a face.
      tracked: the face in that crop.
    """
    kind = SpriteOcclusion if self.config.moves_like_hands else Occlusion
    return kind(
      self.config,
      seed=self.seed,
      skin=_skin_of(image, tracked),
      face_outline=(tracked.outline + 0.5) / len(image),
      fps=float(fps),
      resolution=len(image),
    )


@dataclass(frozen=True, kw_only=True)
class RealOcclusion:
  """What covers the face is found, and records get no target.

  Attributes:
    detector: finds what covers the face.
    as_boxes: whether bounding boxes, not outlines, become the mask.
    dilation: pixels of the video by which the mask grows.
    growth: share of the frame's longer side by which it grows as well, if the
      detector is one that overlooks things. Then the masks of the frames before
      and after are added too, since a moving hand is blurred between them.
  """

  detector: Detector
  as_boxes: bool = False
  dilation: int = 0
  growth: float = 0.0

  def reach(self, shape: tuple[int, ...]) -> int:
    """Returns by how many pixels the masks of frames (h, w, …) grow."""
    rough = self.growth if self.detector.overlooks else 0
    return self.dilation + round(rough * max(shape[:2]))


@dataclass(frozen=True, kw_only=True)
class CropOcclusion:
  """What covers the face is found in its crop, and records get no target.

  Attributes:
    occluder: tells it from the crop, and from the last one that was free.
    beside: finds in whole frames what is covered too; None: nothing does.
    as_boxes: whether the bounding box, not the outline, becomes the mask.
    dilation: pixels of the video by which the mask grows.
  """

  occluder: CropOccluder
  beside: RealOcclusion | None = None
  as_boxes: bool = False
  dilation: int = 0

  def mask(
    self, image: np.ndarray, free: np.ndarray | None, scale: float
  ) -> np.ndarray:
    """Returns the mask of a crop, (s, s) uint8.

    Args:
      image: see `CropOccluder`.
      free: likewise.
      scale: pixels of the crop per pixel of the video.
    """
    mask = (self.occluder(image, free) > 0.5).astype(np.uint8)
    if self.as_boxes and mask.any():
      mask = box_mask(bounding_box(mask)[None], mask.shape)
    return _dilated(mask, round(self.dilation * scale))


def prepare(
  clip: Clip,
  *,
  size: int,
  find_face: Detector,
  occlusion: SyntheticOcclusion | RealOcclusion | CropOcclusion,
  which_face: str | int = "largest",
  lookahead: int = LOOKAHEAD,
  aligned: Aligned = "sources",
  flow_prior: FlowPrior | None = None,
  flow_side: int | None = None,
  looks: int = LOOKS,
  pace: Pace | None = None,
  overlap: bool = False,
) -> Iterator[FrameRecord | SkippedFrame]:
  """Yields the records of a clip, frame by frame.

  Args:
    clip: the video.
    size: side of the crops, in pixels.
    find_face: detector of faces.
    occlusion: what to paste, or how to find what is there.
    which_face: `largest`, or a number from the left, see `FaceFinder`.
    lookahead: frames that have to come in before one comes out. With fewer
      than `LOOKAHEAD` the crop is less steady. Those beyond it may show what
      is covered now. With 0, gaps between finds of the occluder stay open as
      well, and a face is looked for in every other frame.
    aligned: how much of the aligned guidance the records hold.
    flow_prior: how faces move, which helps to propagate; None if unknown.
    flow_side: see `AlignedGuidance`.
    looks: likewise.
    pace: likewise.
    overlap: whether frames are read and occluders found in one thread, faces in
      another, and crops made in a third, each of which works a frame ahead.

  Yields:
    Every frame of the clip, in order: its record, or why it has none.

  Raises:
    InputError: the video is damaged, or a detector cannot be used.
  """
  align = AlignedGuidance(aligned, flow_prior, flow_side, looks, pace)

  def picture(cropped: _Cropped) -> Picture | None:
    record = cropped.record
    if isinstance(record, SkippedFrame):
      return None
    return align.picture(record.image, cropped.mask, record.frame_index)

  crops = _crops(
    clip,
    size=size,
    find_face=find_face,
    occlusion=occlusion,
    which_face=which_face,
    lookahead=lookahead,
    overlap=overlap,
  )
  if overlap:
    crops = ahead(crops)
  count = 0 if aligned == "none" else frames_looked_at(lookahead)
  for cropped, later in with_later(
    crops, picture, lambda cropped: cropped.size, count
  ):
    record = cropped.record
    if isinstance(record, SkippedFrame):
      yield record
      continue
    guidance = align(record.image, cropped.mask, record.frame_index, later)
    yield replace(record, **guidance)


@dataclass(frozen=True)
class _Cropped:
  """A frame's record without aligned guidance.

  Attributes:
    record: the record, or why there is none.
    mask: (s, s) uint8, everything that covers the crop; what lies beside the
      face is no background either. Empty if there is no record.
    size: bytes of the frame and of what is kept of its crop.
  """

  record: FrameRecord | SkippedFrame
  mask: np.ndarray
  size: int


def _crops(
  clip: Clip,
  *,
  size: int,
  find_face: Detector,
  occlusion: SyntheticOcclusion | RealOcclusion | CropOcclusion,
  which_face: str | int,
  lookahead: int,
  overlap: bool,
) -> Iterator[_Cropped]:
  """Crops the frames of a clip.

  The arguments, and what is raised, are those of `prepare`.

  Yields:
    Every frame, in order.
  """
  find_one_face = FaceFinder(find_face, which_face, rests=lookahead == 0)
  choose_past_frame = PastFrameChooser()
  pasted: Occlusion | SpriteOcclusion | None = None
  resting: tuple[np.ndarray, np.ndarray] | None = None  # on a still
  free: np.ndarray | None = None  # crop of the past frame
  masked = with_masks(clip.frames(), occlusion, causal=lookahead == 0)
  if overlap:
    masked = ahead(masked)
  observed = (
    ((frame, mask), find_one_face(frame.image, frame.index))
    for frame, mask in masked
  )
  if overlap:
    observed = ahead(observed)
  steadies = min(lookahead, LOOKAHEAD)
  for (frame, mask), tracked in track(observed, size, steadies):
    if tracked is None:
      skipped = SkippedFrame(
        frame.index,
        f"no face within {LOOKAHEAD} frames before and {steadies} after",
      )
      yield _Cropped(skipped, mask[:0], frame.image.nbytes)
      continue
    target = None
    image = crop.warp(frame.image, tracked.transform, size)
    if isinstance(occlusion, SyntheticOcclusion):
      target = image
      if pasted is None:
        pasted = occlusion.start(clip.fps, target, tracked)
      if not clip.still:
        image, mask = pasted.paste(target, float(frame.time))
      elif resting is None:
        image, mask = resting = at_rest(
          pasted.paste,
          target,
          partial(face_occlusion, outline=tracked.outline),
          occlusion.config.ratio[0],
        )
      else:
        image, mask = resting
      if occlusion.as_boxes:
        mask = boxes_around(mask)
    elif isinstance(occlusion, CropOcclusion):
      scale = float(np.hypot(*tracked.transform[0, :2]))
      own = occlusion.mask(image, free, scale)
      if occlusion.beside is None:
        mask = own
      else:
        mask = own | crop.warp_mask(mask, tracked.transform, size)
    else:
      mask = crop.warp_mask(mask, tracked.transform, size)
    everything = mask
    covered = face_occlusion(mask, tracked.outline)
    # What a network compares a crop with is to be free beside the face too.
    beside = isinstance(occlusion, CropOcclusion) and float(mask.mean())
    if target is None and covered < MIN_OCCLUSION:
      mask = np.zeros_like(mask)
    symmetric = symmetric_image(image, mask, tracked.landmarks)
    past_index = choose_past_frame.update(
      frame.index,
      # Something that is pasted beside the face spoils the crop as well.
      occlusion=max(covered, beside, float(mask.mean())),
      sharpness=sharpness(image, tracked.outline),
    )
    if choose_past_frame.index == frame.index:
      free = image
    record = FrameRecord(
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
      past_index=past_index,
      crop_transform=tracked.transform,
      landmarks=tracked.landmarks,
      source_path=clip.path,
      source_sha256=clip.digest,
    )
    # The crop, its symmetric image, and masks of both.
    yield _Cropped(record, everything, frame.image.nbytes + 3 * image.nbytes)


def with_masks(
  frames: Iterator[Frame],
  occlusion: SyntheticOcclusion | RealOcclusion | CropOcclusion,
  *,
  causal: bool,
) -> Iterator[tuple[Frame, np.ndarray]]:
  """Adds to each frame the mask of its real occlusion, at the frame's size."""
  if isinstance(occlusion, CropOcclusion) and occlusion.beside is not None:
    occlusion = occlusion.beside
  if not isinstance(occlusion, RealOcclusion):
    nothing = np.zeros((0, 0), np.uint8)
    return ((frame, nothing) for frame in frames)
  masked = find_masks(
    frames, occlusion.detector, as_boxes=occlusion.as_boxes, causal=causal
  )
  if occlusion.growth and occlusion.detector.overlooks:
    masked = with_neighbours(masked, causal=causal)
  if not occlusion.dilation and not occlusion.growth:
    return masked
  return ((f, _dilated(m, occlusion.reach(m.shape))) for f, m in masked)


def _dilated(mask: np.ndarray, reach: int) -> np.ndarray:
  left, top, width, height = cv2.boundingRect(mask)
  if not width or not reach:
    return mask
  side = 2 * reach + 1
  kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
  part = np.s_[
    max(top - reach, 0) : top + height + reach,
    max(left - reach, 0) : left + width + reach,
  ]
  grown = np.zeros_like(mask)
  grown[part] = cv2.dilate(mask[part], kernel)
  return grown


def _skin_of(image: np.ndarray, tracked: TrackedFace) -> Skin:
  """Samples skin from a cheek, or from the middle if there are no landmarks."""
  if len(tracked.landmarks):
    region = cheek(tracked.landmarks)
  else:
    low, high = tracked.outline.min(0), tracked.outline.max(0)
    region = np.concatenate([low + 0.35 * (high - low), high])
    region[2:] = low + 0.65 * (high - low)
  return Skin.sample(image, region)
