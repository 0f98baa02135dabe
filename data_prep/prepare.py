"""From a clip to frame records: crop, occlusion, guidance.

Both the export of a training set and the restoration of a single video go
through `prepare`.
"""

from collections.abc import Iterator

import numpy as np

from data_prep import crop, face, guidance
from data_prep.occluders import Hand
from data_prep.sources import Clip, Detector
from diffmvr_jax.data.records import FrameRecord
from diffmvr_jax.errors import InputError

# A found mask that covers less of the face than this is none.
MIN_OCCLUSION = 0.005


def find_faces(clip: Clip) -> np.ndarray:
  """Landmarks of every frame, (frames, 21, 2); gaps are interpolated.

  Raises:
    InputError: no face in any frame.
  """
  found = list(clip.landmarks())
  if all(points is None for points in found):
    raise InputError(f"{clip.path}: no face in any of its {len(found)} frames")
  return crop.interpolate(found)


def prepare(
  clip: Clip,
  *,
  size: int,
  seed: int | None = None,
  find_occluder: Detector | None = None,
) -> Iterator[FrameRecord]:
  """Yields the records of a clip, frame by frame.

  Args:
    clip: the video.
    size: side of the crops, in pixels.
    seed: paste a synthetic hand, drawn from this seed; records get a target.
    find_occluder: find the real occlusion instead; records get no target.

  Raises:
    InputError: no face in any frame; or every frame is occluded.
  """
  landmarks = find_faces(clip)
  transforms = crop.crop_transforms(landmarks, size)
  bank = guidance.PastBank()
  hand: Hand | None = None
  for i, frame in enumerate(clip.images()):
    points = crop.apply(transforms[i], landmarks[i])
    target = crop.warp(frame, transforms[i], size)
    if seed is not None:
      if hand is None:
        skin = _skin_tone(target, points)
        hand = Hand(seed=seed, frames=len(landmarks), size=size, skin=skin)
      image, mask = hand.paste(target, i)
    else:
      image, mask = target, np.zeros((size, size), np.uint8)
      found = find_occluder(frame) if find_occluder is not None else None
      if found is not None:
        mask = crop.warp_mask(found, transforms[i], size)
        if guidance.face_occlusion(mask, points) < MIN_OCCLUSION:
          mask[:] = 0
    symmetric, symmetric_valid = guidance.symmetric_image(image, mask, points)
    yield FrameRecord(
      video_id=clip.video_id,
      frame_index=i,
      fps=clip.fps,
      image=image,
      target=target if seed is not None else None,
      mask=mask,
      symmetric=symmetric,
      symmetric_valid=symmetric_valid,
      past_index=bank.update(i, bool(mask.any())),
      crop_transform=transforms[i],
      landmarks=points.astype(np.float32),
      source_path=clip.path,
      source_sha256=clip.digest,
    )
  if bank.index < 0:
    raise InputError(
      f"{clip.path}: every frame is occluded, so there is no past frame"
    )


def _skin_tone(image: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Median colour between nose and mouth corners, (3,) RGB."""
  right, left, nose = points[3], points[3 + face.PAIRS], points[18]
  low = np.minimum.reduce([right, left, nose]).astype(int)
  high = np.maximum.reduce([right, left, nose]).astype(int) + 1
  low, high = np.clip(low, 0, None), np.clip(high, 1, len(image))
  patch = image[low[1] : high[1], low[0] : high[0]].reshape(-1, 3)
  return np.median(patch, axis=0) if len(patch) else np.full(3, 160.0)
