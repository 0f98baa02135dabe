"""What has been measured so far: tallies of parts add up to the whole's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffmvr_jax.metrics.frechet import Moments, frechet_distance

Scores = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Mean:
  """A weighted mean in the making.

  Attributes:
    total: sum of values times weights.
    weight: sum of weights.
    frames: that it was measured on.
    videos: likewise.
  """

  total: float
  weight: float
  frames: int
  videos: int = 1

  def __add__(self, other: "Mean") -> "Mean":
    return Mean(
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
class Features:
  """Features of restored and of true frames or videos.

  Attributes:
    restored: their moments.
    true: likewise.
    frames: that they are made of.
    videos: likewise.
  """

  restored: Moments
  true: Moments
  frames: int
  videos: int = 1

  def __add__(self, other: "Features") -> "Features":
    return Features(
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
class Tally:
  """Everything measured on some videos, in memory that does not grow.

  Attributes:
    parts: by metric.

  Example:
    >>> one = Tally(parts={"psnr": Mean(total=20.0, weight=1.0, frames=1)})
    >>> two = Tally(parts={"psnr": Mean(total=72.0, weight=3.0, frames=3)})
    >>> (one + two).values()
    {'psnr': 23.0}
  """

  parts: Mapping[str, Mean | Features] = field(default_factory=dict)

  def __add__(self, other: "Tally") -> "Tally":
    parts = dict(self.parts)
    for name, part in other.parts.items():
      if name in parts:  # a metric is always of one kind
        part = parts[name] + part  # pyright: ignore[reportOperatorIssue]
      parts[name] = part
    return Tally(parts=parts)

  def values(self) -> Scores:
    """The metrics' values, by name; those that cannot be told are left out."""
    values = {name: part.value for name, part in self.parts.items()}
    return {k: v for k, v in values.items() if not math.isnan(v)}

  def means(self) -> Scores:
    """The values of those that are means; distances say little of one video."""
    means = {k: p for k, p in self.parts.items() if isinstance(p, Mean)}
    return Tally(parts=means).values()
