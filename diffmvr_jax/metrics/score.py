"""Scores of one restored clip against its truth, and their average."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.metrics.similarity import psnr, ssim
from diffmvr_jax.metrics.temporal import temporal_consistency

_psnr, _ssim = jax.jit(psnr), jax.jit(ssim)
_temporal = jax.jit(temporal_consistency)
_CHUNK = 64  # frames at a time, which bounds memory
_EXACT = 100.0  # dB, for a frame without error: a mean of infinity says nothing

Scores = dict[str, float | int]


def score_clip(
  restored: np.ndarray, target: np.ndarray, mask: np.ndarray
) -> Scores:
  """Scores a clip.

  Args:
    restored: (n, h, w, 3) uint8.
    target: (n, h, w, 3) uint8.
    mask: (n, h, w, 1), 1 on the occlusion.

  Returns:
    `psnr_mask` and `ssim_mask`: inside the mask, mean over occluded frames;
    `psnr`, `ssim`: whole frames, mean over occluded frames, where a frame
    without error counts as 100 dB; `tc`, `tc_mask`:
    Eq. (E.3) over the clip and inside the mask; `tc_target` and
    `tc_mask_target`: the same of the truth, which is what to aim for;
    `frames`: how many frames are occluded.
  """
  occluded = np.flatnonzero(mask.any((1, 2, 3)))
  frames: dict[str, list[np.ndarray]] = {}
  for start in range(0, len(occluded), _CHUNK):
    chosen = occluded[start : start + _CHUNK]
    # One shape for all chunks, so that nothing is compiled twice.
    padded = np.resize(chosen, _CHUNK)
    x, y = jnp.asarray(restored[padded]), jnp.asarray(target[padded])
    m = jnp.asarray(mask[padded])
    for name, values in (
      ("psnr_mask", _psnr(x, y, m)),
      ("ssim_mask", _ssim(x, y, m)),
      ("psnr", _psnr(x, y)),
      ("ssim", _ssim(x, y)),
    ):
      frames.setdefault(name, []).append(np.asarray(values)[: len(chosen)])
  scores: Scores = {"frames": len(occluded)}
  for name, parts in frames.items():
    values = np.minimum(np.concatenate(parts), _EXACT)
    scores[name] = float(np.nanmean(values))
  scores["tc"] = float(_temporal(restored))
  scores["tc_mask"] = float(_temporal(restored, mask))
  scores["tc_target"] = float(_temporal(target))
  scores["tc_mask_target"] = float(_temporal(target, mask))
  return scores


def average(clips: Iterable[Mapping[str, float | int]]) -> Scores:
  """Averages clips' scores, each weighted by its occluded frames.

  Example:
    >>> average([{"frames": 1, "psnr": 20.0}, {"frames": 3, "psnr": 24.0}])
    {'frames': 4, 'psnr': 23.0}
  """
  clips = [clip for clip in clips if clip["frames"]]
  weights = [clip["frames"] for clip in clips]
  result: Scores = {"frames": sum(weights)}
  for name in clips[0]:
    if name != "frames":
      values = [clip[name] for clip in clips]
      result[name] = float(np.average(values, weights=weights))
  return result
