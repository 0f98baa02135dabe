import numpy as np
import pytest
import scipy.linalg

from diffmvr_jax.metrics.frechet import Moments, frechet_distance


@pytest.fixture(scope="module")
def features():
  rng = np.random.default_rng(0)
  mix = rng.normal(size=(24, 24))
  first = rng.normal(size=(400, 24)) @ mix + 3
  second = rng.normal(size=(300, 24)) * 1.3 - 1
  return first, second


def test_the_distance_is_that_of_scipys_matrix_root(features):
  first, second = features
  covariances = [np.cov(x, rowvar=False) for x in features]
  root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
  expected = np.sum((first.mean(0) - second.mean(0)) ** 2)
  expected += np.trace(sum(covariances) - 2 * root.real)
  actual = frechet_distance(Moments.of(first), Moments.of(second))
  assert actual == pytest.approx(expected, rel=1e-10)


def test_moments_of_parts_add_up(features):
  first, second = features
  whole = frechet_distance(Moments.of(first), Moments.of(second))
  parts = sum(
    (Moments.of(x) for x in np.array_split(first, 7)[1:]),
    Moments.of(np.array_split(first, 7)[0]),
  )
  assert parts.count == len(first)
  actual = frechet_distance(parts, Moments.of(second))
  assert actual == pytest.approx(whole, rel=1e-12)


def test_singular_covariances_have_a_distance():
  rng = np.random.default_rng(1)
  few = Moments.of(rng.normal(size=(5, 40)))
  other = Moments.of(rng.normal(size=(5, 40)) + 2)
  assert frechet_distance(few, few) == pytest.approx(0, abs=1e-4)
  assert frechet_distance(few, other) > 100


def test_one_feature_has_no_distance():
  one = Moments.of(np.ones((1, 4)))
  assert np.isnan(frechet_distance(one, one))
