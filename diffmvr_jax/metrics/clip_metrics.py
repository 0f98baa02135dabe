"""Measures a restored video against its truth, one stretch at a time."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.metrics.accumulators import Features, Mean, Tally
from diffmvr_jax.metrics.flow import backward_flow
from diffmvr_jax.metrics.frechet import Moments
from diffmvr_jax.metrics.similarity import psnr, ssim
from diffmvr_jax.metrics.temporal import (
  as_printed,
  temporal_consistency,
  warping_error,
)

_temporal, _warping = jax.jit(temporal_consistency), jax.jit(warping_error)
_CHUNK = 64  # frames at a time, which bounds memory
_EXACT = 100.0  # dB, for a frame without error: a mean of infinity says nothing
_VIDEO = 16  # frames of a video that FVD looks at
_EDGE = 1 / 8  # of the square around a mask, on each side

# (n, h, w, 3) restored and true, (n, h, w, 1) mask -> by metric, (n,) values;
# NaN where a frame has none.
Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]
# n images (h, w, 3), or videos (16, h, w, 3), of any sizes.
Images = Sequence[np.ndarray] | np.ndarray
# Their features, (n, d).
Embed = Callable[[Images], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Instruments:
  """Metrics that need a network, each None where its weights are missing.

  Attributes:
    lpips: gives `lpips` and `lpips_mask`.
    inception: features of frames, for FID.
    i3d: features of videos, for FVD.
    faces: gives `identity`, `landmarks` and `landmarks_mask`.
  """

  lpips: Compare | None = None
  inception: Embed | None = None
  i3d: Embed | None = None
  faces: Compare | None = None


class ClipMeter:
  """Tallies one video; the sum of its `tally`s is that of the whole video.

  Args:
    instruments: networks; without any, the metrics that need none.

  Example:
    >>> meter = ClipMeter()
    >>> black = np.zeros((2, 16, 16, 3), np.uint8)
    >>> meter.see(black, black, np.ones((2, 16, 16, 1), np.uint8))
    >>> meter.tally.values()["psnr_mask"]
    100.0
  """

  def __init__(self, instruments: Instruments = Instruments()):
    self._instruments = instruments
    self._before: tuple[np.ndarray, ...] | None = None
    self._video: tuple[np.ndarray, ...] | None = None
    self.tally = Tally()

  def see(
    self, restored: np.ndarray, target: np.ndarray, mask: np.ndarray
  ) -> None:
    """Goes on with the video's next frames.

    Args:
      restored: (n, h, w, 3) uint8, n at least 1.
      target: (n, h, w, 3) uint8.
      mask: (n, h, w, 1) uint8, 1 on the occlusion.
    """
    for start in range(0, len(mask), _CHUNK):
      part = slice(start, start + _CHUNK)
      arrays = (restored[part], target[part], mask[part])
      self._frames(*arrays)
      self._motion(*arrays)
      if self._instruments.i3d is not None:
        self._videos(*arrays)

  def _add(self, parts: dict[str, Mean | Features]) -> None:
    # All that this meter sees is one video.
    known = self.tally.parts.keys()
    first = {
      name: dataclasses.replace(part, videos=0) if name in known else part
      for name, part in parts.items()
    }
    self.tally = self.tally + Tally(parts=first)

  def _add_means(self, values: dict[str, np.ndarray]) -> None:
    parts: dict[str, Mean | Features] = {}
    for name, all_values in values.items():
      finite = all_values[np.isfinite(all_values)].astype(np.float64)
      if len(finite):
        parts[name] = Mean(
          total=float(finite.sum()),
          weight=float(len(finite)),
          frames=len(finite),
        )
    self._add(parts)

  def _frames(
    self, restored: np.ndarray, target: np.ndarray, mask: np.ndarray
  ) -> None:
    covered = np.flatnonzero(mask.any((1, 2, 3)))
    if not len(covered):
      return
    # One shape for all chunks, so that nothing is compiled twice.
    filled = np.resize(covered, _CHUNK)
    x, y = jnp.asarray(restored[filled]), jnp.asarray(target[filled])
    m = jnp.asarray(mask[filled])
    values = _similarity(x, y, m)
    count = len(covered)
    self._add_means({k: np.asarray(v)[:count] for k, v in values.items()})
    chosen = (restored[covered], target[covered], mask[covered])
    for compare in (self._instruments.lpips, self._instruments.faces):
      if compare is not None:
        self._add_means(compare(*chosen))
    embed = self._instruments.inception
    if embed is not None:
      squares = [_square(m) for m in chosen[2]]
      inside = [
        [image[square] for image, square in zip(images, squares, strict=True)]
        for images in chosen[:2]
      ]
      self._add(
        {
          "fid": _features(embed, chosen[0], chosen[1], count),
          "fid_mask": _features(embed, inside[0], inside[1], count),
        }
      )

  def _motion(self, *arrays: np.ndarray) -> None:
    if self._before is not None:
      arrays = tuple(
        np.concatenate(pair) for pair in zip(self._before, arrays, strict=True)
      )
    self._before = tuple(a[-1:] for a in arrays)
    restored, target, mask = arrays
    pairs, height, width, _ = (len(mask) - 1, *mask.shape[1:])
    if not pairs:
      return
    either = np.maximum(mask[1:], mask[:-1])
    marked = int(either.sum())
    frames = int(either.any((1, 2, 3)).sum())
    flow, visible = backward_flow(target)
    parts: dict[str, Mean | Features] = {}

    def mean(name: str, total: float, weight: float | int, seen: int) -> None:
      if weight:
        parts[name] = Mean(total=total, weight=float(weight), frames=seen)

    for suffix, clip in (("", restored), ("_target", target)):
      tc = float(_temporal(clip))
      mean(f"tc{suffix}", tc * pairs, pairs, pairs)
      printed = as_printed(tc, height, width)
      mean(f"tc_paper{suffix}", printed * pairs, pairs, pairs)
      total, weight = map(float, _warping(clip, flow, visible))
      mean(f"warp{suffix}", total, weight, pairs)
      if marked:
        inside = float(_temporal(clip, mask))
        mean(f"tc_mask{suffix}", inside * marked, marked, frames)
        total, weight = map(float, _warping(clip, flow, visible * mask[1:]))
        mean(f"warp_mask{suffix}", total, weight, frames)
    self._add(parts)

  def _videos(self, *arrays: np.ndarray) -> None:
    assert self._instruments.i3d is not None
    if self._video is not None:
      arrays = tuple(
        np.concatenate(pair) for pair in zip(self._video, arrays, strict=True)
      )
    restored, target, mask = arrays
    whole = len(mask) // _VIDEO * _VIDEO
    self._video = tuple(a[whole:] for a in arrays)
    for start in range(0, whole, _VIDEO):
      part = slice(start, start + _VIDEO)
      if not mask[part].any():
        continue
      inside = _square(mask[part].max(0))
      for name, square in (("fvd", ()), ("fvd_mask", inside)):
        cut = (part, *square)
        self._add(
          {
            name: _features(
              self._instruments.i3d, [restored[cut]], [target[cut]], _VIDEO
            )
          }
        )


@jax.jit
def _similarity(
  restored: jax.Array, target: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
  """PSNR and SSIM in one program, which makes SSIM's map once."""
  return {
    "psnr_mask": jnp.minimum(psnr(restored, target, mask), _EXACT),
    "ssim_mask": ssim(restored, target, mask),
    "psnr": jnp.minimum(psnr(restored, target), _EXACT),
    "ssim": ssim(restored, target),
  }


def _features(
  embed: Embed,
  restored: Images,
  target: Images,
  frames: int,
) -> Features:
  return Features(
    restored=Moments.of(embed(restored)),
    true=Moments.of(embed(target)),
    frames=frames,
  )


def _square(mask: np.ndarray) -> tuple[slice, slice]:
  """Rows and columns of the square around a (h, w, 1) mask, with an edge."""
  size = min(mask.shape[:2])
  spans = []
  for axis in (1, 0):
    marked = np.flatnonzero(mask[..., 0].any(axis))
    spans.append((int(marked[0]), int(marked[-1]) + 1))
  side = max(end - begin for begin, end in spans)
  side = min(size, round(side * (1 + 2 * _EDGE)))
  rows, columns = (
    int(np.clip((begin + end - side) // 2, 0, whole - side))
    for (begin, end), whole in zip(spans, mask.shape[:2], strict=True)
  )
  return slice(rows, rows + side), slice(columns, columns + side)
