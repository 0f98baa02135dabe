"""Restoration without training, for comparison.

Every baseline maps a clip (arrays named as in the data contract) to restored
frames, (frame, h, w, 3) uint8, as `Restorer` does.
"""

from collections.abc import Callable

import cv2
import numpy as np

from diffmvr_jax.data.windows import Window
from diffmvr_jax.inference.paste import composite, feather

_TELEA_RADIUS = 3  # pixels


def do_nothing(clip: Window) -> np.ndarray:
  """The occluded frames as they are."""
  return clip["frame"].copy()


def past_frame(clip: Window) -> np.ndarray:
  """The past frame copied into the mask, where there is one."""
  return _fill(clip, clip["past"], clip["past_valid"])


def mirror_image(clip: Window) -> np.ndarray:
  """The symmetric image copied into the mask, where there is one."""
  return _fill(clip, clip["symmetric"], clip["symmetric_valid"])


def telea(clip: Window) -> np.ndarray:
  """OpenCV's fast-marching inpainting (Telea 2004), frame by frame."""
  filled = np.stack(
    [
      cv2.inpaint(frame, mask, _TELEA_RADIUS, cv2.INPAINT_TELEA)
      for frame, mask in zip(clip["frame"], clip["mask"][..., 0], strict=True)
    ]
  )
  return _fill(clip, filled, np.ones(len(filled), bool))


BASELINES: dict[str, Callable[[Window], np.ndarray]] = {
  "do nothing": do_nothing,
  "past frame": past_frame,
  "mirror image": mirror_image,
  "Telea": telea,
}


def _fill(clip: Window, filling: np.ndarray, valid: np.ndarray) -> np.ndarray:
  restored = clip["frame"].copy()
  for i in np.flatnonzero(valid):
    alpha = feather(clip["mask"][i, ..., 0])
    restored[i] = composite(clip["frame"][i], filling[i], alpha)
  return restored
