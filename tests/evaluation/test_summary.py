"""What is told of measurements, and what is not."""

import numpy as np

from diffmvr_jax.evaluation.summary import summarise
from diffmvr_jax.metrics.accumulators import FeatureMoments, Measurements
from diffmvr_jax.metrics.frechet import Moments


def test_a_distance_of_one_feature_is_not_told():
  one = Moments.of(np.ones((1, 4)))
  part = FeatureMoments(restored=one, true=one, frames=16)
  summary = summarise(
    {"a": {"video": Measurements(by_metric={"fvd": part})}},
    conditions={},
    metrics=["fvd"],
    digests={},
    missing={},
  )
  assert summary["methods"]["a"] == {}
  assert "fewer than two frames" in summary["not_computed"]["fvd"]
