"""The Fréchet distance of two sets of features, seen one part at a time.

For Gaussians (Dowson and Landau 1982; as FID, Heusel et al. 2017):

  d² = ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)                           (a)
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Moments:
  """Sums over features, in float64; moments of two parts add up.

  Attributes:
    count: number of features.
    total: (d,) their sum.
    products: (d, d) the sum of their outer products.
  """

  count: int
  total: np.ndarray
  products: np.ndarray

  @classmethod
  def of(cls, features: np.ndarray) -> "Moments":
    """Moments of (n, d) features.

    Example:
      >>> Moments.of(np.ones((3, 2))).total
      array([3., 3.])
    """
    wide = np.asarray(features, np.float64)
    return cls(count=len(wide), total=wide.sum(0), products=wide.T @ wide)

  def __add__(self, other: "Moments") -> "Moments":
    return Moments(
      count=self.count + other.count,
      total=self.total + other.total,
      products=self.products + other.products,
    )

  def gaussian(self) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased covariance; needs two features."""
    mean = self.total / self.count
    spread = self.products - self.count * np.outer(mean, mean)
    return mean, spread / (self.count - 1)


def frechet_distance(first: Moments, second: Moments) -> float:
  """Formula (a), computed in float64.

  NaN with fewer than two features. With fewer features than dimensions the
  covariance is singular and the distance biased upwards: compare numbers of
  the same count only.

  Example:
    >>> points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> moved = points + [3.0, 4.0]
    >>> round(frechet_distance(Moments.of(points), Moments.of(moved)), 6)
    25.0
  """
  if min(first.count, second.count) < 2:
    return float("nan")
  mean1, covariance1 = first.gaussian()
  mean2, covariance2 = second.gaussian()
  # Σ₁ Σ₂ has the eigenvalues of the symmetric Σ₁^½ Σ₂ Σ₁^½.
  values, vectors = np.linalg.eigh(covariance1)
  root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
  shared = np.linalg.eigvalsh(root @ covariance2 @ root)
  return float(
    np.sum((mean1 - mean2) ** 2)
    + np.trace(covariance1)
    + np.trace(covariance2)
    - 2 * np.sqrt(np.maximum(shared, 0)).sum()
  )
