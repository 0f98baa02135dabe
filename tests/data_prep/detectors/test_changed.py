"""Masks grow over what came with an occluder, and over nothing else."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from data_prep.clip import Frame
from data_prep.detectors.changed import with_what_changed

SHAPE = (120, 160)
BEFORE = 10  # frames before the arm comes in
UNSEEN = 2  # frames in which it is there, and the hand is not found yet
COUNT = 24


def scene(index):
  """A textured room that a camera looks at, and which sways a little."""
  noise = np.random.default_rng(0).normal(size=(160, 200, 3))
  picture = np.clip(
    cv2.GaussianBlur(noise, (0, 0), 3) * 300 + 110, 0, 255
  ).astype(np.uint8)
  x = 20 + round(2 * np.sin(index / 3))
  return picture[20 : 20 + SHAPE[0], x : x + SHAPE[1]].copy()


def arm(index):
  """The whole occluder, and the hand alone, which a detector would find."""
  whole, hand = np.zeros((2, *SHAPE), np.uint8)
  if index >= BEFORE:
    tip = (60 + index, 50)
    cv2.line(whole, (30, 119), tip, 1, 16)
    cv2.circle(hand, tip, 12, 1, -1)
  return whole | hand, hand


def clip(*, lamp=False):
  frames = []
  for index in range(COUNT):
    image, (whole, hand) = scene(index), arm(index)
    image[whole > 0] = (250, 205, 180)
    if lamp and index >= BEFORE:
      cv2.circle(image, (140, 20), 10, (255, 255, 255), -1)
    found = hand if index >= BEFORE + UNSEEN else np.zeros_like(hand)
    frames.append((Frame(image, index, Fraction(index, 25)), found))
  return frames


def overlap(a, b):
  return (a & b).sum() / max((a | b).sum(), 1)


@pytest.mark.parametrize("causal", [False, True])
def test_the_arm_of_a_hand_is_masked(causal):
  grown = list(with_what_changed(clip(), causal=causal))
  assert [frame.index for frame, _ in grown] == list(range(COUNT))
  for index in range(BEFORE + UNSEEN, COUNT):
    whole, hand = arm(index)
    assert overlap(hand, whole) < 0.5
    assert overlap(grown[index][1], whole) > 0.7, index
    # With a rim, nothing of it is left.
    assert grown[index][1][whole > 0].mean() > 0.99
  for index in range(BEFORE):
    assert not grown[index][1].any()


def test_what_has_the_colours_behind_it_is_masked_with_the_rest():
  frames = []
  for index in range(COUNT):
    behind = cv2.resize(scene(index), None, fx=2, fy=2)
    behind[130:] = (200, 190, 170)
    image, (whole, inlet, hand) = behind.copy(), np.zeros((3, 240, 320), "u1")
    if index >= BEFORE:
      tip = (140 + 2 * index, 90)
      cv2.line(whole, (60, 239), tip, 1, 60)
      cv2.line(inlet, (90, 190), (150, 190), 1, 13)
      cv2.circle(hand, tip, 30, 1, -1)
    image[(whole | hand) > 0] = (250, 205, 180)
    image[inlet > 0] = behind[inlet > 0]
    frames.append((Frame(image, index, Fraction(index, 25)), hand))
  for index, (_, mask) in enumerate(with_what_changed(frames, causal=True)):
    if index >= BEFORE:
      assert mask[(inlet & whole) > 0].mean() > 0.7, index
      assert mask.mean() < 0.5


def test_what_two_arms_embrace_stays():
  frames = []
  for index in range(BEFORE + 3):
    image = cv2.resize(scene(index), None, fx=2, fy=2)
    arms, hands = np.zeros((2, 240, 320), np.uint8)
    if index >= BEFORE:  # 16 pixels are left between the hands
      cv2.ellipse(arms, (160, 120), (70, 70), -90, 16, 344, 1, 22)
      for tip in (141, 179):
        cv2.circle(hands, (tip, 53), 14, 1, -1)
      hands[:, 152:169] = 0
    image[(arms | hands) > 0] = (250, 205, 180)
    frames.append((Frame(image, index, Fraction(index, 25)), hands))
  *_, (_, mask) = with_what_changed(frames, causal=True)
  assert mask[(arms | hands) > 0].mean() > 0.95
  assert not mask[90:150, 130:190].any()


def test_the_smallest_frames_keep_their_masks():
  blank = np.full((16, 16, 3), 90, np.uint8)
  hand = np.zeros((16, 16), np.uint8)
  hand[4:9, 4:9] = 1
  covered = np.where(hand[..., None] > 0, np.uint8(220), blank)
  frames = [
    (Frame(blank, 0, Fraction(0)), 0 * hand),
    (Frame(covered, 1, Fraction(1, 25)), hand),
  ]
  _, (_, mask) = with_what_changed(frames, causal=True)
  assert mask[hand > 0].all() and mask.mean() < 0.5


def test_what_comes_in_is_masked_before_it_is_found():
  ahead = [mask for _, mask in with_what_changed(clip(), causal=False)]
  late = [mask for _, mask in with_what_changed(clip(), causal=True)]
  for index in range(BEFORE, BEFORE + UNSEEN):
    assert overlap(ahead[index], arm(index)[0]) > 0.7
    assert not late[index].any()


def test_what_has_changed_elsewhere_stays():
  for _, mask in with_what_changed(clip(lamp=True), causal=False):
    assert not mask[5:35, 125:155].any()


def test_what_was_seen_to_change_is_not_masked_once_a_hand_is_near():
  frames = []
  for index in range(BEFORE + 8):
    image, hand = scene(index), np.zeros(SHAPE, np.uint8)
    if index >= BEFORE + 3:
      cv2.circle(image, (120, 50), 12, (255, 255, 255), -1)
    if index >= BEFORE:
      left = 50 if index < BEFORE + 7 else 98  # it comes near in the last frame
      cv2.circle(hand, (left, 50), 12, 1, -1)
    image[hand > 0] = (250, 205, 180)
    frames.append((Frame(image, index, Fraction(index, 25)), hand))
  *_, (_, mask) = with_what_changed(frames, causal=True)
  assert not mask[40:60, 118:130].any()


def test_without_a_free_frame_masks_stay_as_they_are():
  covered = clip()[BEFORE + UNSEEN :]
  for (_, found), (_, mask) in zip(
    covered, with_what_changed(covered, causal=False), strict=True
  ):
    np.testing.assert_array_equal(found, mask)


def test_another_scene_is_not_masked():
  frames = clip()[: BEFORE + UNSEEN]
  other = np.random.default_rng(5).integers(0, 255, (*SHAPE, 3), np.uint8)
  hand = arm(BEFORE)[1]
  frames.append((Frame(other, len(frames), Fraction(1)), hand))
  *_, (_, mask) = with_what_changed(frames, causal=True)
  assert mask.mean() < 2 * hand.mean()
