"""A live stream that comes out late is looked at less often."""

import pytest

from diffmvr_jax.media.pace import Pace


def noticed(pace, latency, frames=40):
  for _ in range(frames):
    pace.notice(latency)
  return pace.every


def test_looks_become_rarer_while_frames_are_late_and_frequent_again():
  pace = Pace(2, most=4)
  assert noticed(pace, 0.07, 200) == 2
  assert noticed(pace, 0.15, 100) == 4
  assert noticed(pace, 0.07, 200) == 4  # not to and fro
  assert noticed(pace, 0.03, 100) == 2


def test_a_step_is_taken_once_the_last_one_has_shown_its_worth():
  pace, steps = Pace(2, most=4), []
  for _ in range(40):
    pace.notice(0.2)
    steps.append(pace.every)
  assert steps.count(3) >= 10 and steps[-1] == 4


def test_one_late_frame_changes_nothing():
  pace = Pace(2, most=4)
  noticed(pace, 0.06)
  assert noticed(pace, 0.25, 1) == 2 and noticed(pace, 0.06) == 2


@pytest.mark.parametrize("every", [1, 3])
def test_a_steady_pace_stays(every):
  pace = Pace(every)
  assert noticed(pace, 1.0, 100) == noticed(pace, 0.0, 100) == every
