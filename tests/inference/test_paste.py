import cv2
import numpy as np
import pytest

from diffmvr_jax.inference.paste import (
  border_fade,
  composite,
  feather,
  paste,
  placed_mask,
)


def scene(seed):
  """A random frame, crop, mask and crop transform, some at the border."""
  rng = np.random.default_rng(seed)
  height, width = rng.integers(60, 200, 2)
  size = int(rng.integers(32, 96))
  frame = rng.integers(0, 256, (height, width, 3), np.uint8)
  crop = rng.integers(0, 256, (size, size, 3), np.uint8)
  mask = np.zeros((size, size), np.uint8)
  centre = tuple(int(v) for v in rng.integers(0, size, 2))
  cv2.circle(mask, centre, int(rng.integers(3, size // 2)), 1, -1)
  angle, scale = rng.uniform(-0.6, 0.6), rng.uniform(0.4, 2.0)
  linear = scale * np.array(
    [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
  )
  middle = rng.uniform(0, 1, 2) * (width, height)
  shift = (size - 1) / 2 - linear @ middle
  return frame, crop, mask, np.column_stack([linear, shift])


def pasted_into(frame, crop, mask, transform):
  alpha = placed_mask(mask, transform, frame.shape[:2])
  return paste(frame, crop, transform, alpha)


@pytest.mark.parametrize("seed", range(25))
def test_pixels_outside_the_feathered_mask_are_the_source_s(seed):
  frame, crop, mask, transform = scene(seed)
  pasted = pasted_into(frame, crop, mask, transform)
  # A generous bound on where the feather can reach, made independently.
  reach = 2 * max(1.0, mask.shape[0] / 20) + 2
  grown = cv2.dilate(mask, np.ones((int(2 * reach) + 1,) * 2, np.uint8)).astype(
    np.float32
  )
  touched = cv2.warpAffine(
    grown,
    transform,
    frame.shape[1::-1],
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
  )
  outside = touched == 0
  assert outside.any()
  np.testing.assert_array_equal(pasted[outside], frame[outside])


def test_inside_the_mask_the_crop_shows():
  frame = np.zeros((100, 100, 3), np.uint8)
  crop = np.full((64, 64, 3), 200, np.uint8)
  mask = np.zeros((64, 64), np.uint8)
  mask[20:40, 20:40] = 1
  shift = np.array([[1.0, 0, -18], [0, 1, -18]])
  pasted = pasted_into(frame, crop, mask, shift)
  assert (pasted[40:56, 40:56] == 200).all()
  assert (pasted[:30] == 0).all()


def test_an_empty_mask_returns_the_frame_itself():
  frame, crop, mask, transform = scene(0)
  assert pasted_into(frame, crop, mask * 0, transform) is frame


def test_feather_is_one_inside_and_exactly_zero_far_away():
  mask = np.zeros((128, 128), np.uint8)
  mask[50:70, 50:70] = 1
  alpha = feather(mask)
  assert (alpha[mask == 1] == 1).all()
  assert (alpha[:40] == 0).all() and (alpha[80:] == 0).all()
  assert ((alpha > 0) & (alpha < 1)).any()


def test_composite_at_the_extremes():
  rng = np.random.default_rng(0)
  source, restored = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
  ones, zeros = np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)
  np.testing.assert_array_equal(composite(source, restored, ones), restored)
  np.testing.assert_array_equal(composite(source, restored, zeros), source)


def test_a_restoration_fades_towards_what_is_covered_beyond_the_crop():
  mask = np.zeros((128, 128), np.uint8)
  mask[40:90, :70] = 1  # goes on to the left
  mask[50:70, 100:110] = 1  # stands alone
  fade = border_fade(mask)
  assert fade[65, 0] == 0 and (fade[50:80, 25:100] > 0.9).all()
  steps = np.diff(fade[65, :40])
  assert (steps >= -1e-6).all() and steps.max() < 0.12  # no hard edge
  alone = border_fade(np.where(np.arange(128) > 90, mask, 0).astype(np.uint8))
  assert (alone[50:70, 100:110] == 1).all()


def test_what_is_not_known_is_kept():
  mask = np.zeros((64, 64), np.uint8)
  mask[20:44, 20:44] = 1
  known = np.ones_like(mask)
  known[20:44, 32:44] = 0
  identity = np.eye(2, 3)
  alpha = placed_mask(mask, identity, mask.shape, known=known)
  assert (alpha[24:40, 20:27] == 1).all()
  assert (alpha[known == 0] == 0).all()
