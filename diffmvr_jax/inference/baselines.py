"""Methods without training, which restorations are compared with.

Every baseline maps a clip (arrays named as in the data contract) to restored
frames, (frame, h, w, 3) uint8, as `CropRestorer` does.
"""

from collections.abc import Callable

import cv2
import numpy as np

from diffmvr_jax.data.windows import Window
from diffmvr_jax.inference import propagation
from diffmvr_jax.inference.paste import composite, feather

_TELEA_RADIUS = 3  # pixels
_MEDIAN_RADIUS = 12  # frames before and after


def do_nothing(clip: Window) -> np.ndarray:
  """Returns the occluded frames as they are."""
  return clip["frame"].copy()


def past_frame(clip: Window) -> np.ndarray:
  """Copies the past frame into the mask, if there is one."""
  return _fill(clip, clip["past"], clip["past_valid"])


def mirror_image(clip: Window) -> np.ndarray:
  """Copies the symmetric image into the mask, if there is one."""
  return _fill(clip, clip["symmetric"], clip["symmetric_valid"])


def telea(clip: Window) -> np.ndarray:
  """Inpaints each frame by fast marching (Telea 2004), with OpenCV."""
  return _fill(clip, _inpainted(clip), np.ones(len(clip["frame"]), bool))


def temporal_median(clip: Window) -> np.ndarray:
  """Takes each pixel's median over the frames around in which it is visible.

  It looks 12 frames ahead, so it cannot be used live. A pixel that is covered
  in all of these frames is inpainted as in `telea`.
  """
  filled = _inpainted(clip)
  masks = clip["mask"][..., 0] > 0
  for i in np.flatnonzero(masks.any((1, 2))):
    near = slice(max(0, i - _MEDIAN_RADIUS), i + _MEDIAN_RADIUS + 1)
    seen = clip["frame"][near, masks[i]].astype(np.float32)
    hidden = masks[near, masks[i]]
    seen[hidden] = np.nan
    known = ~hidden.all(0)
    values = filled[i][masks[i]]
    values[known] = np.nanmedian(seen[:, known], axis=0).round()
    filled[i][masks[i]] = values
  return _fill(clip, filled, np.ones(len(filled), bool))


def warped_past(clip: Window) -> np.ndarray:
  """Copies the past frame into the mask, warped to the present by flow."""
  return _fill(clip, propagation.warped_past(clip), clip["past_valid"])


def propagated(clip: Window) -> np.ndarray:
  """Copies what was seen of each pixel, carried along from frame to frame."""
  filling = propagation.propagated(clip)
  return _fill(clip, filling, np.ones(len(filling), bool))


BASELINES: dict[str, Callable[[Window], np.ndarray]] = {
  "do nothing": do_nothing,
  "past frame": past_frame,
  "warped past": warped_past,
  "propagation": propagated,
  "mirror image": mirror_image,
  "Telea": telea,
  "temporal median": temporal_median,
}


def _inpainted(clip: Window) -> np.ndarray:
  pairs = zip(clip["frame"], clip["mask"][..., 0], strict=True)
  return np.stack(
    [
      cv2.inpaint(frame, mask, _TELEA_RADIUS, cv2.INPAINT_TELEA)
      for frame, mask in pairs
    ]
  )


def _fill(clip: Window, filling: np.ndarray, valid: np.ndarray) -> np.ndarray:
  restored = clip["frame"].copy()
  for i in np.flatnonzero(valid):
    alpha = feather(clip["mask"][i, ..., 0])
    restored[i] = composite(clip["frame"][i], filling[i], alpha)
  return restored
