import numpy as np
import pytest

from data_prep.occluders import Hand

SKIN = np.array([200.0, 150.0, 120.0])


def play(seed, frames=60, size=64):
  hand = Hand(seed=seed, frames=frames, size=size, skin=SKIN)
  blank = np.full((size, size, 3), 10, np.uint8)
  return zip(*(hand.paste(blank, i) for i in range(frames)), strict=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_hand_enters_rests_and_leaves(seed):
  _, masks = play(seed)
  areas = np.array([mask.mean() for mask in masks])
  assert areas[0] == 0  # there is a past frame
  assert areas.max() > 0.05
  assert (areas[int(areas.argmax()) :] == 0).any() or areas[-1] > 0
  resting = np.diff(areas)[areas[1:] > 0.8 * areas.max()]
  assert np.abs(resting).min() < 0.01


def test_the_mask_covers_every_changed_pixel():
  images, masks = play(2)
  for image, mask in zip(images, masks, strict=True):
    changed = (image != 10).any(-1)
    assert (mask[changed] == 1).all()


def test_everything_follows_from_the_seed():
  first, _ = play(1)
  again, _ = play(1)
  other, _ = play(2)
  assert all((a == b).all() for a, b in zip(first, again, strict=True))
  assert any((a != b).any() for a, b in zip(first, other, strict=True))
