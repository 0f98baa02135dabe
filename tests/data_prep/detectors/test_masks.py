from fractions import Fraction

import cv2
import numpy as np
import pytest

from data_prep.clip import Frame
from data_prep.detections import NOTHING, Detections, covered
from data_prep.detectors.find_masks import find_masks
from data_prep.detectors.given_masks import UserMasks
from data_prep.prepare import RealOcclusion, with_masks
from tests.data_prep.clips import Scripted, masked, write_video

SHAPE = (12, 16)


def frames(count):
  blank = np.zeros((*SHAPE, 3), np.uint8)
  return [Frame(blank, i, Fraction(i, 25)) for i in range(count)]


def piece(column):
  mask = np.zeros(SHAPE, np.uint8)
  mask[:, column] = 1
  return mask


def detector(visible):
  def say(image, index):
    if index not in visible:
      return NOTHING
    return Detections(
      boxes=np.array([[index, 0, index + 1, 12]], np.float32),
      scores=np.ones(1),
      masks=piece(index)[None],
    )

  return Scripted(say, overlooks=True)


def test_the_detector_is_asked_on_every_other_frame_and_around_finds():
  finder = detector({4, 5, 6, 7})
  found = list(find_masks(frames(14), finder))
  assert [f.index for f, _ in found] == list(range(14))
  assert sorted(finder.asked) == [0, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13]
  assert [i for i, (_, m) in enumerate(found) if m.any()] == [4, 5, 6, 7]


def test_gaps_of_two_frames_are_filled_from_both_sides():
  found = [m for _, m in find_masks(frames(12), detector({2, 3, 6, 10}))]
  bridge = piece(3) | piece(6)
  np.testing.assert_array_equal(found[4], bridge)
  np.testing.assert_array_equal(found[5], bridge)
  assert not any(found[i].any() for i in (0, 1, 7, 8, 9, 11))


def test_masks_of_a_person_are_taken_as_they_are():
  finder = masked([piece(1), None, piece(3), None])
  found = [m for _, m in find_masks(frames(4), finder)]
  assert finder.asked == [0, 1, 2, 3]
  assert [bool(m.any()) for m in found] == [True, False, True, False]


def test_both_mask_types():
  mask = np.zeros(SHAPE, np.uint8)
  mask[2:6, 3:9] = np.eye(4, 6, dtype=np.uint8)
  found = Detections(
    boxes=np.array([[3, 2, 9, 6]], np.float32),
    scores=np.ones(1),
    masks=mask[None],
  )
  np.testing.assert_array_equal(covered(found, SHAPE), mask)
  box = covered(found, SHAPE, as_boxes=True)
  assert box.sum() == 24 and box[2:6, 3:9].all()


@pytest.fixture
def clip(tmp_path):
  images = [np.full((12, 16, 3), 40 * i, np.uint8) for i in range(4)]
  return write_video(tmp_path / "clip.mkv", images, codec="ffv1", pixels="bgr0")


def read(path, clip):
  finder = UserMasks(path, clip)
  return [covered(finder(f.image, f.index), SHAPE) for f in frames(4)]


TRUTH = [piece(2), piece(3) * 0, piece(4), piece(5)]


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_images_of_any_range(top, clip, tmp_path):
  folder = tmp_path / "masks"
  folder.mkdir()
  kind = np.uint16 if top > 255 else np.uint8
  for i, mask in enumerate(TRUTH):
    # Not zero-padded: 10 must come after 9.
    cv2.imwrite(str(folder / f"mask_{i + 8}.png"), mask.astype(kind) * top)
  for mask, truth in zip(read(folder, clip), TRUTH, strict=True):
    np.testing.assert_array_equal(mask, truth)


def test_an_alpha_channel_is_a_mask(clip, tmp_path):
  rgba = np.full((*SHAPE, 4), 255, np.uint8)
  rgba[..., 3] = piece(7) * 255
  cv2.imwrite(str(tmp_path / "one.png"), rgba)
  for mask in read(tmp_path / "one.png", clip):
    np.testing.assert_array_equal(mask, piece(7))


def test_a_video_of_masks(clip, tmp_path):
  images = [np.repeat(m[..., None] * np.uint8(255), 3, 2) for m in TRUTH]
  path = write_video(
    tmp_path / "masks.mkv", images, codec="ffv1", pixels="gray"
  )
  for mask, truth in zip(read(path, clip), TRUTH, strict=True):
    np.testing.assert_array_equal(mask, truth)


def test_a_folder_may_hold_the_masks_of_many_videos(clip, tmp_path):
  folder = tmp_path / "all"
  (folder / "clip").mkdir(parents=True)
  for i, mask in enumerate(TRUTH):
    cv2.imwrite(str(folder / "clip" / f"{i}.png"), mask * 255)
  cv2.imwrite(str(folder / "other.png"), TRUTH[0])
  np.testing.assert_array_equal(read(folder, clip)[2], TRUTH[2])


@pytest.mark.parametrize("causal", [False, True])
def test_masks_of_moving_things_grow(causal):
  there = [np.zeros((40, 60), np.uint8) for _ in range(3)]
  for k, mask in enumerate(there):
    mask[10:20, 10 * k : 10 * k + 10] = 1
  masks = [None, *there, None, None, None]
  blank = np.zeros((40, 60, 3), np.uint8)
  clip = [Frame(blank, k, Fraction(k, 25)) for k in range(len(masks))]

  def grown(growth, *, overlooks=True):
    detector = masked(masks, overlooks=overlooks)
    occlusion = RealOcclusion(detector=detector, growth=growth)
    found = with_masks(iter(clip), occlusion, causal=causal)
    return [mask for _, mask in found]

  plain = grown(0.0)
  assert [mask.sum() for mask in plain] == [0, 100, 100, 100, 0, 0, 0]
  # Masks that a person made are exact.
  np.testing.assert_array_equal(grown(0.02, overlooks=False), plain)
  made = grown(0.02)
  assert not made[0].any() and not made[4].any()
  # A pixel further, and over the masks before and, if it may wait, after.
  middle = made[2][15]
  assert middle[:21].all() and made[2][9, 15]
  assert middle[21:31].any() != causal and not middle[31:].any()


@pytest.mark.parametrize("corner", [(0, 0), (5, 20), (30, 50)])
def test_masks_grow_as_far_as_the_border(corner):
  """As if the whole frame were grown at once."""
  top, left = corner
  mask = np.zeros((40, 60), np.uint8)
  mask[top : top + 10, left : left + 10] = 1
  frame = Frame(np.zeros((40, 60, 3), np.uint8), 0, Fraction(0))
  occlusion = RealOcclusion(detector=masked([mask]), dilation=7)
  ((_, grown),) = with_masks(iter([frame]), occlusion, causal=True)
  disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
  np.testing.assert_array_equal(grown, cv2.dilate(mask, disc))
