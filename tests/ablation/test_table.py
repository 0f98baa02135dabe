"""Tables of runs, and what they say of claims."""

from dataclasses import replace

import numpy as np
import pytest

from diffmvr_jax.ablation.spec import Claim
from diffmvr_jax.ablation.table import judge, markdown, verdicts

CLAIM = Claim(text="", metric="tc", first="a", second="b")


@pytest.mark.parametrize(
  ("relation", "pairs", "verdict"),
  [
    ("better", [(1.0, 2.0), (1.1, 2.0), (0.9, 2.1)], "**holds**"),
    ("better", [(2.0, 1.0), (2.0, 1.1), (2.1, 0.9)], "**fails**"),
    ("better", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.1)], "open"),
    ("better", [(1.0, 2.0)], "open"),
    ("not worse", [(1.0, 2.0), (1.1, 2.0), (0.9, 2.1)], "**holds**"),
    ("not worse", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.1)], "**not refuted**"),
    ("not worse", [(2.0, 1.0), (2.0, 1.1), (2.1, 0.9)], "**fails**"),
    ("equal", [(1.0, 1.0), (2.0, 2.0)], "**holds**"),
    ("equal", [(1.0, 1.0), (2.0, 2.0000001)], "**fails**"),
  ],
)
def test_claims_are_judged(relation, pairs, verdict):
  claim = replace(CLAIM, relation=relation)
  assert judge(claim, np.asarray(pairs)).startswith(verdict)


def test_students_interval_is_scipys():
  from scipy import stats

  pairs = np.array([(1.0, 2.0), (1.5, 2.0), (0.9, 2.1)])
  gain = pairs[:, 1] - pairs[:, 0]
  low, _ = stats.t.interval(0.95, 2, loc=gain.mean(), scale=stats.sem(gain))
  said = judge(CLAIM, pairs)
  assert f"better by {gain.mean():.5f} ± {gain.mean() - low:.5f}" in said


def test_runs_of_one_seed_are_compared(sweep):
  results = {
    "both": {
      0: {"psnr_mask": 2.0},
      1: {"psnr_mask": 3.0},
      2: {"psnr_mask": 9.0},
    },
    "past": {0: {"psnr_mask": 1.0}, 1: {"psnr_mask": 2.0}},
  }
  (said,) = verdicts(sweep, results)
  assert "better by 1.00 ± 0.00, 95 %, 2 seeds" in said
  assert "| both | 3 | 4.67 ± 2.19 |" in markdown(sweep, "test", results)
