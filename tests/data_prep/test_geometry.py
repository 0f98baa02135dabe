import numpy as np
import pytest

from data_prep import crop, face, guidance
from data_prep.procedural import FRAMES, SIZE, ProceduralVideo


def frontal_face(angle=0.0, centre=(60.0, 50.0), size=20.0):
  """Landmarks that are exactly symmetric about an axis through `centre`."""
  rng = np.random.default_rng(0)
  right = np.column_stack(
    [-rng.uniform(0.3, 1, face.PAIRS), rng.uniform(-1, 1, face.PAIRS)]
  )
  middle = np.column_stack([np.zeros(5), np.linspace(-1, 1.2, 5)])
  points = np.concatenate([right, right * [-1, 1], middle]) * size
  cosine, sine = np.cos(angle), np.sin(angle)
  rotation = np.array([[cosine, -sine], [sine, cosine]])
  return (points @ rotation.T + centre).astype(np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.7])
def test_symmetry_axis_is_found(angle):
  landmarks = frontal_face(angle)
  mirror = guidance.reflection(*guidance.symmetry_axis(landmarks))
  mirrored = crop.apply(mirror, landmarks)
  right, left = mirrored[: face.PAIRS], landmarks[face.PAIRS :][: face.PAIRS]
  assert np.abs(right - left).max() < 0.01  # pixels


def test_symmetry_axis_ignores_outliers():
  landmarks = frontal_face()
  clean = guidance.reflection(*guidance.symmetry_axis(landmarks))
  landmarks[[1, face.PAIRS + 4]] += [25, -30]
  spoiled = guidance.reflection(*guidance.symmetry_axis(landmarks))
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
  symmetric, valid = guidance.symmetric_image(image, mask, landmarks)
  assert valid
  assert np.abs(symmetric.astype(int) - truth).max() <= 1


def test_pixels_occluded_on_both_sides_stay_grey():
  landmarks = frontal_face(centre=(63.5, 60.0), size=30.0)
  image = np.full((128, 128, 3), 200, np.uint8)
  mask = np.zeros((128, 128), np.uint8)
  mask[40:80, 50:100] = 1
  symmetric, _ = guidance.symmetric_image(image, mask, landmarks)
  assert (symmetric[50:70, 60:67] == guidance.GREY).all()
  assert (symmetric[50:70, 85:95] == 200).all()
  assert (symmetric[mask == 0] == 200).all()


def test_a_turned_head_has_no_symmetric_image():
  landmarks = frontal_face(centre=(63.5, 60.0), size=30.0)
  landmarks[18] = landmarks[5] + 2  # the nose tip beside a cheek
  mask = np.zeros((128, 128), np.uint8)
  mask[40:80, 75:100] = 1
  image = np.zeros((128, 128, 3), np.uint8)
  assert not guidance.symmetric_image(image, mask, landmarks)[1]


def test_past_bank_is_causal():
  bank = guidance.PastBank()
  occluded = [True, False, False, True, True, False, True]
  past = [bank.update(i, value) for i, value in enumerate(occluded)]
  assert past == [-1, -1, 1, 2, 2, 2, 5]


def test_crop_levels_and_centres_the_face():
  landmarks = np.stack([frontal_face(0.4, (300, 200), 50.0)] * 3)
  transform = crop.crop_transforms(landmarks, 96)[1]
  points = crop.apply(transform, landmarks[1])
  assert abs(face.roll(points)) < 1e-3
  centre, side = face.extent(points)
  np.testing.assert_allclose(centre, 47.5, atol=0.05)
  assert side == pytest.approx(96 / crop.MARGIN, rel=1e-3)


def test_crop_transform_is_invertible_to_half_a_pixel():
  landmarks = np.stack([frontal_face(-0.2, (310, 190), 60.0)] * 2)
  transform = crop.crop_transforms(landmarks, 128)[0]
  whole = np.vstack([transform, [0, 0, 1]]).astype(np.float64)
  inverse = np.linalg.inv(whole)[:2]
  points = np.random.default_rng(0).uniform(0, 600, (50, 2))
  back = crop.apply(inverse, crop.apply(transform, points))
  assert np.abs(back - points).max() < 0.01


def test_missing_landmarks_are_interpolated():
  first, last = frontal_face(), frontal_face(centre=(70.0, 50.0))
  filled = crop.interpolate([None, first, None, last, None])
  np.testing.assert_allclose(filled[2], (first + last) / 2, atol=1e-4)
  np.testing.assert_array_equal(filled[0], first)
  np.testing.assert_array_equal(filled[4], last)


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
    mouth = points[[3, 3 + face.PAIRS]].mean(0).round().astype(int)
    cheek = ((points[3] + points[5]) / 2).round().astype(int)
    assert (
      np.abs(
        image[mouth[1], mouth[0]].astype(int) - image[cheek[1], cheek[0]]
      ).sum()
      > 20
    )
