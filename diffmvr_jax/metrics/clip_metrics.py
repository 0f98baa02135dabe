"""All metrics of a restored video, some frames at a time."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.metrics.accumulators import (
  FeatureMoments,
  Measurements,
  WeightedMean,
)
from diffmvr_jax.metrics.frechet import Moments
from diffmvr_jax.metrics.motion import TrueMotion, TrueStretch
from diffmvr_jax.metrics.similarity import psnr, ssim
from diffmvr_jax.metrics.temporal import with_printed_divisor

_CHUNK = 64  # frames at a time, which bounds memory
_AT_ONCE = 16  # frames that one call compares; the last call repeats some
NO_ERROR = 100.0  # dB of a frame without error, as infinity has no mean
_VIDEO = 16  # frames of a video that FVD looks at
_MARGIN = 1 / 8  # of the square around a mask, on each side

# (n, h, w, 3) restored and true, (n, h, w, 1) mask -> by metric, (n,) values;
# NaN where a frame has none.
Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]
# n images (h, w, 3), or videos (16, h, w, 3), of any sizes.
Images = Sequence[np.ndarray] | np.ndarray
# Their features, (n, d).
Embed = Callable[[Images], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class MetricNetworks:
  """The networks that some metrics need, None where the weights are missing.

  Attributes:
    lpips: gives `lpips` and `lpips_mask`.
    inception: gives features of frames, for FID.
    i3d: gives features of videos, for FVD.
    faces: gives `identity`, `landmarks` and `landmarks_mask`.
  """

  lpips: Compare | None = None
  inception: Embed | None = None
  i3d: Embed | None = None
  faces: Compare | None = None


class ClipMetrics:
  """Measures one video, some frames at a time.

  Args:
    networks: networks of metrics; metrics without one are left out.

  Example:
    >>> metrics = ClipMetrics()
    >>> black = np.zeros((2, 16, 16, 3), np.uint8)
    >>> metrics.add_frames(black, black, np.ones((2, 16, 16, 1), np.uint8))
    >>> metrics.measurements.values()["psnr_mask"]
    100.0
  """

  def __init__(self, networks: MetricNetworks = MetricNetworks()):
    self._networks = networks
    self._motion = TrueMotion()
    self._last_frame: np.ndarray | None = None
    self._incomplete_video: tuple[np.ndarray, ...] | None = None
    self._sums = Measurements()
    self._every_frame: list[float] = []  # SSIM, covered or not
    self._printed = 1.0  # TC with the printed divisor, by TC with the true one

  @property
  def measurements(self) -> Measurements:
    """What the frames so far amount to, also as one video of many.

    The paper averages over videos, however long: `ssim_paper`, `tc_paper` and
    `fid_paper` are this video's value, of weight 1.
    """
    means = {}
    for source, name, factor in (
      ("fid", "fid_paper", 1.0),
      ("tc", "tc_paper", self._printed),
      ("tc_target", "tc_paper_target", self._printed),
    ):
      result = self._sums.by_metric.get(source)
      if result is not None and np.isfinite(value := result.value):
        means[name] = WeightedMean(
          total=factor * value, weight=1.0, frames=result.frames
        )
    if self._every_frame:
      count = len(self._every_frame)
      means["ssim_paper"] = WeightedMean(
        total=sum(self._every_frame) / count, weight=1.0, frames=count
      )
    return self._sums + Measurements(by_metric=means)

  def add_frames(
    self, restored: np.ndarray, target: np.ndarray, mask: np.ndarray
  ) -> None:
    """Measures the video's next frames.

    Args:
      restored: (n, h, w, 3) uint8, n at least 1.
      target: (n, h, w, 3) uint8.
      mask: (n, h, w, 1) uint8, 1 on the occlusion.
    """
    for part in _chunks(len(mask)):
      truth = target[part], mask[part]
      self._add_chunk(restored[part], *truth, self._motion.next(*truth))

  def _add_chunk(
    self,
    restored: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray,
    true_motion: TrueStretch | None,
  ) -> None:
    self._printed = with_printed_divisor(1.0, *mask.shape[1:3])
    self._measure_frames(restored, target, mask)
    self._measure_motion(restored, true_motion)
    if self._networks.i3d is not None:
      self._measure_videos(self._networks.i3d, restored, target, mask)

  def _add(self, results: Mapping[str, WeightedMean | FeatureMoments]) -> None:
    # All frames are of one video, which counts once.
    known = self._sums.by_metric.keys()
    results = {
      name: dataclasses.replace(result, videos=0) if name in known else result
      for name, result in results.items()
    }
    self._sums = self._sums + Measurements(by_metric=results)

  def _add_means(self, values: Mapping[str, np.ndarray]) -> None:
    """Adds values of frames; those that are not finite do not count."""
    means = {}
    for name, of_frames in values.items():
      finite = of_frames[np.isfinite(of_frames)].astype(np.float64)
      if len(finite):
        means[name] = WeightedMean(
          total=float(finite.sum()),
          weight=float(len(finite)),
          frames=len(finite),
        )
    self._add(means)

  def _measure_frames(
    self, restored: np.ndarray, target: np.ndarray, mask: np.ndarray
  ) -> None:
    """Compares the frames in which something is covered."""
    self._compare_uncovered(restored, target, mask)
    covered = mask.any((1, 2, 3))
    if not covered.any():
      return
    restored, target, mask = restored[covered], target[covered], mask[covered]
    values = frame_similarity(restored, target, mask)
    self._add_means(values)
    self._every_frame += values["ssim"].tolist()
    for compare in (self._networks.lpips, self._networks.faces):
      if compare is not None:
        self._add_means(compare(restored, target, mask))
    if self._networks.inception is not None:
      self._measure_fid(self._networks.inception, restored, target, mask)

  def _compare_uncovered(
    self, restored: np.ndarray, target: np.ndarray, mask: np.ndarray
  ) -> None:
    """SSIM of the frames in which nothing is covered."""
    apart = (restored != target).any((1, 2, 3))
    free = ~mask.any((1, 2, 3))
    self._every_frame += [1.0] * int((free & ~apart).sum())
    changed = free & apart
    if changed.any():
      arrays = restored[changed], target[changed], mask[changed]
      self._every_frame += frame_similarity(*arrays)["ssim"].tolist()

  def _measure_fid(
    self,
    embed: Embed,
    restored: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray,
  ) -> None:
    squares = [_square_around(m) for m in mask]

    def cut_out(images: np.ndarray) -> list[np.ndarray]:
      return [x[square] for x, square in zip(images, squares, strict=True)]

    count = len(mask)
    self._add(
      {
        "fid": _feature_moments(embed, restored, target, count),
        "fid_mask": _feature_moments(
          embed, cut_out(restored), cut_out(target), count
        ),
      }
    )

  def _measure_motion(
    self, restored: np.ndarray, true_motion: TrueStretch | None
  ) -> None:
    """Measures the motion from each frame to the next."""
    if self._last_frame is not None:
      restored = np.concatenate([self._last_frame, restored])
    self._last_frame = restored[-1:]
    if true_motion is not None:
      self._add(true_motion.measured(restored))
      of_target = true_motion.means.items()
      self._add({f"{name}_target": mean for name, mean in of_target})

  def _measure_videos(self, embed: Embed, *arrays: np.ndarray) -> None:
    """Compares videos of 16 frames in which something is covered."""
    arrays = _joined(self._incomplete_video, arrays)
    whole = len(arrays[0]) // _VIDEO * _VIDEO
    self._incomplete_video = tuple(a[whole:] for a in arrays)
    for start in range(0, whole, _VIDEO):
      restored, target, mask = (a[start : start + _VIDEO] for a in arrays)
      if not mask.any():
        continue
      rows, columns = _square_around(mask.max(0))
      square = (slice(None), rows, columns)
      self._add(
        {
          "fvd": _feature_moments(embed, [restored], [target], _VIDEO),
          "fvd_mask": _feature_moments(
            embed, [restored[square]], [target[square]], _VIDEO
          ),
        }
      )


def _joined(
  before: tuple[np.ndarray, ...] | None, arrays: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
  if before is None:
    return arrays
  pairs = zip(before, arrays, strict=True)
  return tuple(np.concatenate(pair) for pair in pairs)


def measure_methods(
  restored: Mapping[str, np.ndarray],
  target: np.ndarray,
  mask: np.ndarray,
  networks: MetricNetworks,
) -> dict[str, Measurements]:
  """Measures what several methods made of one video.

  Args:
    restored: (n, h, w, 3) uint8 by method.
    target: (n, h, w, 3) uint8.
    mask: (n, h, w, 1) uint8, 1 on the occlusion.
    networks: see `ClipMetrics`.

  Returns:
    Measurements by method.
  """
  by_method = {name: ClipMetrics(networks) for name in restored}
  motion = TrueMotion()
  for part in _chunks(len(mask)):
    truth = target[part], mask[part]
    stretch = motion.next(*truth)
    for name, metrics in by_method.items():
      metrics._add_chunk(restored[name][part], *truth, stretch)
  return {name: metrics.measurements for name, metrics in by_method.items()}


def frame_similarity(
  restored: np.ndarray, target: np.ndarray, mask: np.ndarray
) -> dict[str, np.ndarray]:
  """PSNR and SSIM of every frame.

  Args:
    restored: (n, h, w, 3) uint8, n at least 1.
    target: (n, h, w, 3) uint8.
    mask: (n, h, w, 1) uint8, 1 on the occlusion.

  Returns:
    `psnr_mask`, `ssim_mask`, `psnr` and `ssim`, (n,) float32 each; PSNR is at
    most 100 dB, and in the mask both are NaN if nothing is covered.
  """
  found: dict[str, list[np.ndarray]] = {}
  for part in _chunks(len(mask), _AT_ONCE):
    arrays = restored[part], target[part], mask[part]
    count = len(arrays[0])
    # One shape for all calls, so that nothing is compiled twice.
    filled = np.resize(np.arange(count), _AT_ONCE)
    values = _similarity(*(jnp.asarray(x[filled]) for x in arrays))
    for name, value in values.items():
      found.setdefault(name, []).append(np.asarray(value)[:count])
  return {name: np.concatenate(parts) for name, parts in found.items()}


def _chunks(frames: int, length: int = _CHUNK) -> Iterator[slice]:
  for start in range(0, frames, length):
    yield slice(start, start + length)


@jax.jit
def _similarity(
  restored: jax.Array, target: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
  """PSNR and SSIM in one program, which makes SSIM's map once."""
  return {
    "psnr_mask": jnp.minimum(psnr(restored, target, mask), NO_ERROR),
    "ssim_mask": ssim(restored, target, mask),
    "psnr": jnp.minimum(psnr(restored, target), NO_ERROR),
    "ssim": ssim(restored, target),
  }


def _feature_moments(
  embed: Embed, restored: Images, target: Images, frames: int
) -> FeatureMoments:
  return FeatureMoments(
    restored=Moments.of(embed(restored)),
    true=Moments.of(embed(target)),
    frames=frames,
  )


def _square_around(mask: np.ndarray) -> tuple[slice, slice]:
  """Rows and columns of the square around a (h, w, 1) mask, with a margin."""
  size = min(mask.shape[:2])
  spans = []
  for axis in (1, 0):
    marked = np.flatnonzero(mask[..., 0].any(axis))
    spans.append((int(marked[0]), int(marked[-1]) + 1))
  side = max(end - begin for begin, end in spans)
  side = min(size, round(side * (1 + 2 * _MARGIN)))
  rows, columns = (
    int(np.clip((begin + end - side) // 2, 0, whole - side))
    for (begin, end), whole in zip(spans, mask.shape[:2], strict=True)
  )
  return slice(rows, rows + side), slice(columns, columns + side)
