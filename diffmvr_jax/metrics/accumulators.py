"""Partial results of metrics, which add up over frames, videos, processes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffmvr_jax.metrics.frechet import Moments, frechet_distance

Scores = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class WeightedMean:
  """A metric that is a weighted mean.

  Attributes:
    total: sum of values times weights.
    weight: sum of weights.
    frames: number of frames that it was measured on.
    videos: number of videos that these are of.
  """

  total: float
  weight: float
  frames: int
  videos: int = 1

  def __add__(self, other: "WeightedMean") -> "WeightedMean":
    return WeightedMean(
      total=self.total + other.total,
      weight=self.weight + other.weight,
      frames=self.frames + other.frames,
      videos=self.videos + other.videos,
    )

  @property
  def value(self) -> float:
    """The mean."""
    return self.total / self.weight


@dataclass(frozen=True, kw_only=True)
class FeatureMoments:
  """A metric that is a Fréchet distance of features.

  Attributes:
    restored: moments of the features of restored frames or videos.
    true: moments of the features of true ones.
    frames: number of restored frames that the features are made of.
    videos: number of videos that these are of.
  """

  restored: Moments
  true: Moments
  frames: int
  videos: int = 1

  def __add__(self, other: "FeatureMoments") -> "FeatureMoments":
    return FeatureMoments(
      restored=self.restored + other.restored,
      true=self.true + other.true,
      frames=self.frames + other.frames,
      videos=self.videos + other.videos,
    )

  @property
  def value(self) -> float:
    """The Fréchet distance."""
    return frechet_distance(self.restored, self.true)


@dataclass(frozen=True, kw_only=True)
class Measurements:
  """Everything measured on some videos, in memory that does not grow.

  Attributes:
    by_metric: partial results, by the metric's name.

  Example:
    >>> def psnr(total, frames):
    ...   mean = WeightedMean(total=total, weight=float(frames), frames=frames)
    ...   return Measurements(by_metric={"psnr": mean})
    >>> (psnr(20.0, 1) + psnr(72.0, 3)).values()
    {'psnr': 23.0}
  """

  by_metric: Mapping[str, WeightedMean | FeatureMoments] = field(
    default_factory=dict
  )

  def __add__(self, other: "Measurements") -> "Measurements":
    total = dict(self.by_metric)
    for name, result in other.by_metric.items():
      if name in total:  # a metric is always of one kind
        result = total[name] + result  # pyright: ignore[reportOperatorIssue]
      total[name] = result
    return Measurements(by_metric=total)

  def values(self) -> Scores:
    """Values by metric, without those that have too few frames for one."""
    values = {name: result.value for name, result in self.by_metric.items()}
    return {k: v for k, v in values.items() if not math.isnan(v)}

  def means(self) -> Scores:
    """Values of metrics that are means: one video has no useful distance."""
    means = {
      name: result
      for name, result in self.by_metric.items()
      if isinstance(result, WeightedMean)
    }
    return Measurements(by_metric=means).values()
