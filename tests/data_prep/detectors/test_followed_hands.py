from contextlib import closing

import cv2
import numpy as np
import pytest

from data_prep.detections import NOTHING, Detections
from data_prep.detectors.followed_hands import FollowedHands
from data_prep.detectors.landmarkers import HandDetector
from diffmvr_jax.media.pace import Pace
from launch.live_clip import covered

IMAGE = np.zeros((8, 8, 3), np.uint8)


class Counted:
  """Finds as many hands as it is told, and notes the frames that it saw."""

  overlooks = True

  def __init__(self, counts, most):
    self._counts, self._most = counts, most
    self.saw, self.closed = [], False

  def __call__(self, image, index):
    self.saw.append(index)
    count = min(self._counts[index], self._most)
    if not count:
      return NOTHING
    return Detections(
      boxes=np.zeros((count, 4)), scores=np.ones(count, np.float32)
    )

  def close(self):
    self.closed = True


def found_in(counts, *, pace=None):
  find_all, follow = Counted(counts, 4), Counted(counts, 1)
  with closing(FollowedHands(find_all, follow, pace=pace)) as detector:
    found = [len(detector(IMAGE, i)) for i in range(len(counts))]
  assert find_all.closed and follow.closed
  seen = sorted(find_all.saw + follow.saw)
  assert pace or seen == list(range(len(counts)))
  return find_all.saw, found


def test_a_hand_that_is_alone_is_followed():
  saw_all, found = found_in([1] * 12)
  # At once after it is found, and then in every fourth frame.
  assert saw_all == [1, 5, 9]
  assert found == [1] * 12


def test_a_second_hand_is_found_after_three_frames_at_most():
  saw_all, found = found_in([0, 0, 1, 1, 2, 2, 2, 2, 2, 1, 1, 1, 1])
  assert found == [0, 0, 1, 1, 1, 1, 1, 2, 2, 1, 1, 1, 1]
  # While there are two, all are looked for in every frame.
  assert saw_all == [3, 7, 8, 9]


def test_it_rests_while_there_is_no_hand_if_something_else_looks_too():
  saw_all, found = found_in([0] * 5 + [1] * 6 + [0] * 5, pace=Pace(2))
  assert saw_all == [3, 7, 11, 15]
  # What was found last stands in until the next look.
  assert found == [0] * 7 + [1] * 4 + [0] * 5


@pytest.mark.parametrize(
  ("every", "all_at", "followed_at"),
  [
    (1, [3, 7, 11, 15], [4, 5, 6, 8, 9, 10, 12, 13, 14, 16]),
    (2, [3, 7, 11, 15], [5, 9, 13]),
    (3, [3, 9, 15], [6, 12]),
  ],
)
def test_it_looks_as_its_pace_says_if_something_else_looks_too(
  every, all_at, followed_at
):
  find_all, follow = Counted([1] * 17, 4), Counted([1] * 17, 1)
  hands = FollowedHands(find_all, follow, pace=Pace(every))
  with closing(hands) as detector:
    found = [len(detector(IMAGE, i)) for i in range(17)]
  assert find_all.saw == all_at and follow.saw == followed_at
  assert found == [0] * 3 + [1] * 14  # what was found before stands in


def test_the_frame_after_a_find_is_searched_for_others():
  saw_all, found = found_in([0, 2, 2, 2])
  assert found == [0, 1, 2, 2]
  assert saw_all == [2, 3]


@pytest.fixture(scope="module")
def hand(assets):
  path = assets / "hands" / "hand_256.png"
  if not path.exists():
    pytest.skip("the assets hold no hands")
  image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
  return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def test_real_hands_are_followed_as_they_are_found(assets, hand):
  blank = [np.full((480, 640, 3), 90, np.uint8)] * 3
  frames = [image for image, _ in covered(blank, 9, free=0, hand=hand)]
  models = assets / "models"
  with (
    closing(HandDetector(models)) as find_all,
    closing(FollowedHands.open(models)) as follow,
  ):
    for index, frame in enumerate(frames):
      expected, found = find_all(frame, index), follow(frame, index)
      assert len(expected) == len(found) == 1
      both = (expected.masks[0] > 0) & (found.masks[0] > 0)
      either = (expected.masks[0] > 0) | (found.masks[0] > 0)
      assert both.sum() > 0.7 * either.sum()
