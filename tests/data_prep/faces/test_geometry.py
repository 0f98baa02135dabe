import cv2
import numpy as np
import pytest

from data_prep.faces import crop
from data_prep.faces.guidance_images import (
  GREY,
  PastFrameChooser,
  reflection,
  sharpness,
  symmetric_image,
  symmetry_axis,
)
from data_prep.faces.landmarks import PAIRS
from data_prep.procedural import FRAMES, SIZE, ProceduralVideo


def frontal_face(angle=0.0, centre=(60.0, 50.0), size=20.0):
  """Landmarks that are exactly symmetric about an axis through `centre`."""
  rng = np.random.default_rng(0)
  right = np.column_stack(
    [-rng.uniform(0.3, 1, PAIRS), rng.uniform(-1, 1, PAIRS)]
  )
  middle = np.column_stack([np.zeros(5), np.linspace(-1, 1.2, 5)])
  points = np.concatenate([right, right * [-1, 1], middle]) * size
  cosine, sine = np.cos(angle), np.sin(angle)
  rotation = np.array([[cosine, -sine], [sine, cosine]])
  return (points @ rotation.T + centre).astype(np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.7])
def test_symmetry_axis_is_found(angle):
  landmarks = frontal_face(angle)
  mirror = reflection(*symmetry_axis(landmarks))
  mirrored = crop.apply(mirror, landmarks)
  right, left = mirrored[:PAIRS], landmarks[PAIRS:][:PAIRS]
  assert np.abs(right - left).max() < 0.01  # pixels


def test_symmetry_axis_ignores_outliers():
  landmarks = frontal_face()
  clean = reflection(*symmetry_axis(landmarks))
  landmarks[[1, PAIRS + 4]] += [25, -30]
  spoiled = reflection(*symmetry_axis(landmarks))
  corners = np.array([[0.0, 0.0], [128.0, 0.0], [0.0, 128.0], [128.0, 128.0]])
  moved = crop.apply(spoiled, corners) - crop.apply(clean, corners)
  assert np.abs(moved).max() < 1  # pixel


def test_symmetric_image_mirrors_the_visible_side():
  landmarks = frontal_face(centre=(63.5, 60.0), size=30.0)
  half = np.random.default_rng(0).integers(0, 256, (128, 64, 3), np.uint8)
  truth = np.concatenate([half, half[:, ::-1]], axis=1)
  mask = np.zeros((128, 128), np.uint8)
  mask[40:80, 75:100] = 1
  image = np.where(mask[..., None] > 0, np.uint8(9), truth)
  symmetric = symmetric_image(image, mask, landmarks)
  assert symmetric.valid
  assert not symmetric.unknown.any()
  assert np.abs(symmetric.image.astype(int) - truth).max() <= 1


def test_pixels_occluded_on_both_sides_are_marked():
  landmarks = frontal_face(centre=(63.5, 60.0), size=30.0)
  image = np.full((128, 128, 3), 200, np.uint8)
  mask = np.zeros((128, 128), np.uint8)
  mask[40:80, 50:100] = 1
  symmetric = symmetric_image(image, mask, landmarks)
  assert (symmetric.image[50:70, 60:67] == GREY).all()
  assert symmetric.unknown[50:70, 60:67].all()
  assert (symmetric.image[50:70, 85:95] == 200).all()
  assert not symmetric.unknown[50:70, 85:95].any()
  assert (symmetric.image[mask == 0] == 200).all()
  assert not symmetric.unknown[mask == 0].any()


def test_without_landmarks_there_is_no_symmetric_image():
  image = np.full((32, 32, 3), 200, np.uint8)
  mask = np.zeros((32, 32), np.uint8)
  mask[:9] = 1
  symmetric = symmetric_image(image, mask, np.zeros((0, 2)))
  assert not symmetric.valid
  np.testing.assert_array_equal(symmetric.unknown, mask)
  assert (symmetric.image[mask == 1] == GREY).all()


def test_a_turned_head_has_no_symmetric_image():
  landmarks = frontal_face(centre=(63.5, 60.0), size=30.0)
  landmarks[18] = landmarks[5] + 2  # the nose tip beside a cheek
  mask = np.zeros((128, 128), np.uint8)
  mask[40:80, 75:100] = 1
  image = np.zeros((128, 128, 3), np.uint8)
  assert not symmetric_image(image, mask, landmarks).valid


def past_frames_of(occlusions, sharpnesses):
  choose = PastFrameChooser()
  return [
    choose.update(i, occlusion=o, sharpness=s)
    for i, (o, s) in enumerate(zip(occlusions, sharpnesses, strict=True))
  ]


def test_the_past_frame_is_never_a_later_one():
  occlusions = [0.4, 0, 0, 0.4, 0.4, 0.001, 0.4]
  assert past_frames_of(occlusions, [9.0] * 7) == [-1, -1, 1, 2, 2, 2, 5]


def test_blurred_frames_are_no_past_frames():
  assert past_frames_of([0] * 5, [10, 10, 2, 2, 9]) == [-1, 0, 1, 1, 1]


def test_what_is_sharp_adapts_to_a_camera_out_of_focus():
  says = past_frames_of([0] * 200, [10.0] * 3 + [2.0] * 197)
  assert says[10] == 2  # still the sharp one
  assert says[-1] == 198  # there is nothing better any more


def test_sharpness_does_not_depend_on_the_resolution():
  rng = np.random.default_rng(0)
  small = cv2.GaussianBlur(
    rng.integers(0, 256, (128, 128, 3)).astype(np.uint8), (0, 0), 1.5
  )
  large = cv2.resize(small, (512, 512), interpolation=cv2.INTER_CUBIC)
  outline = np.array([[20.0, 20], [110, 20], [110, 110], [20, 110]])
  one = sharpness(small, outline)
  other = sharpness(large, 4 * outline)
  assert other == pytest.approx(one, rel=0.15)
  blurred = cv2.GaussianBlur(small, (0, 0), 2)
  assert sharpness(blurred, outline) < 0.3 * one


def test_crop_replicates_the_border_of_the_frame():
  image = np.full((40, 40, 3), 77, np.uint8)
  transform = np.array([[1.0, 0, 30], [0, 1, 30]], np.float32)
  assert (crop.warp(image, transform, 64) == 77).all()
  mask = np.ones((40, 40), np.uint8)
  assert not crop.warp_mask(mask, transform, 64)[:20, :20].any()


def test_drawn_clips_are_reproducible_and_differ():
  first = list(ProceduralVideo(3).frames())
  again = list(ProceduralVideo(3).frames())
  other = list(ProceduralVideo(4).frames())
  assert len(first) == FRAMES
  for (image, points), (image2, points2) in zip(first, again, strict=True):
    np.testing.assert_array_equal(image, image2)
    np.testing.assert_array_equal(points, points2)
  assert (first[0][0] != other[0][0]).any()


def test_drawn_landmarks_lie_on_what_they_name():
  """Between the eye corners the eye is drawn: it is lighter or darker."""
  for seed in range(6):
    image, points = next(ProceduralVideo(seed).frames())
    assert (points > 0).all() and (points < SIZE).all()
    mouth = points[[3, 3 + PAIRS]].mean(0).round().astype(int)
    cheek = ((points[3] + points[5]) / 2).round().astype(int)
    assert (
      np.abs(
        image[mouth[1], mouth[0]].astype(int) - image[cheek[1], cheek[0]]
      ).sum()
      > 20
    )


@pytest.mark.parametrize("angle", [0, 0.3])
@pytest.mark.parametrize(
  "centre", [(300, 200), (2, 3), (-90, 500), (630, 470), (-400, 900)]
)
def test_a_shrunk_crop_is_that_of_the_whole_frame_blurred(centre, angle):
  rng = np.random.default_rng(0)
  image = 255 * rng.integers(0, 2, (480, 640, 3), np.uint8)
  transform = crop.transform(centre, 150, angle, 32)
  sigma = 0.4 / np.hypot(*transform[0, :2])
  expected = cv2.warpAffine(
    cv2.GaussianBlur(image, (0, 0), sigma),
    transform,
    (32, 32),
    borderMode=cv2.BORDER_REPLICATE,
  )
  apart = np.abs(crop.warp(image, transform, 32).astype(int) - expected)
  assert apart.max() <= 1 and (apart > 0).mean() < 0.01
