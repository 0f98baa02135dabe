"""Crops that are finer than the method that fills them."""

import dataclasses

import cv2
import numpy as np
import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.inference.crop_filling import CropFiller, restore_clip
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.fine_filling import FineFiller, filler_of, shrunk
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import StreamOptions
from tests.aligned import arrays, without_unet

SIDE, FACTOR = 32, 2
MASK = np.s_[8:24, 10:20]


class Propagated:
  """Fills crops of half the side with the propagated image, plus `more`."""

  crop_size, window, aligned, provenance = SIDE // FACTOR, 4, "propagated", {}

  def __init__(self, more=0):
    self._more = more

  def fill(self, window, frame_index, seed, *, previous=None):
    assert window["frame"].shape[1:] == (SIDE // FACTOR, SIDE // FACTOR, 3)
    assert previous is None or previous.shape == window["frame"].shape[1:]
    return window["propagated"] + np.uint8(self._more)

  def confidence(self, window):
    return window["propagated_confidence"][..., 0]


@pytest.fixture
def window():
  rng = np.random.default_rng(3)
  made = {name: value[0] for name, value in arrays((1, 2), size=SIDE).items()}
  noise = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE, 3)), (0, 0), 1.5)
  seen = np.clip(128 + 200 * noise, 20, 230).astype(np.uint8)
  mask = np.zeros((2, SIDE, SIDE, 1), np.uint8)
  mask[:, *MASK] = 1
  frame = np.where(mask > 0, np.uint8(7), seen)
  return made | {
    "frame": frame,
    "mask": mask,
    "propagated": np.stack([seen, seen]),
    "propagated_confidence": np.full((2, SIDE, SIDE, 1), 255, np.uint8),
    "past_valid": np.array([True, False]),
  }


def filled(window, more=0, **options):
  filler = FineFiller(Propagated(more), FACTOR)
  assert isinstance(filler, CropFiller)
  assert filler.crop_size == SIDE
  return filler.fill(window, np.arange(2), 0, **options)


def test_what_is_sure_keeps_its_detail(window):
  """The coarse method agrees with what was seen, so that all of it is kept."""
  made = filled(window, previous=window["frame"][0])
  apart = made.astype(int) - window["propagated"]
  assert np.abs(apart).max() <= 1
  # And what the coarse method changes, changes.
  brighter = filled(window, more=9)[:, *MASK].astype(int)
  np.testing.assert_allclose(brighter - made[:, *MASK], 9, atol=1)


def test_what_nobody_has_seen_is_as_fine_as_the_method(window):
  window["propagated_confidence"][:] = 0
  made = filled(window)[0][MASK]
  small = shrunk(window, FACTOR)["propagated"][0]
  enlarged = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
  np.testing.assert_array_equal(made, enlarged[MASK])


def test_only_what_lies_near_the_mask_is_filled(window):
  window["mask"][:] = 0
  window["mask"][:, :2, :2] = 1
  made = filled(window, more=9)
  far = np.s_[:, SIDE - 4 :, SIDE - 4 :]
  np.testing.assert_array_equal(made[far], window["frame"][far])


def test_a_smaller_window_has_the_same_arrays(window):
  small = shrunk(window, FACTOR)
  expected = arrays((1, 2), size=SIDE // FACTOR)
  for name, value in expected.items():
    assert small[name].shape == value[0].shape, name
    assert small[name].dtype == value.dtype, name
  assert small["past_valid"] is window["past_valid"]


def test_flows_are_in_pixels_of_the_smaller_crops(window):
  window["source_flow"][:] = np.array([3, -5], np.float16)
  small = shrunk(window, FACTOR)["source_flow"]
  np.testing.assert_array_equal(
    small, np.broadcast_to(np.float16([1.5, -2.5]), small.shape)
  )


def test_masks_cover_what_they_touched_and_doubt_stays(window):
  window["mask"][:] = 0
  window["mask"][0, 5, 5] = 1
  window["source_known"][:] = 1
  window["source_known"][0, 0, 5, 5] = 0
  window["propagated_confidence"][0, 5, 5] = 0
  small = shrunk(window, FACTOR)
  assert small["mask"][0].sum() == small["mask"][0, 2, 2] == 1
  assert (small["source_known"] == 0).sum() == 1
  assert small["source_known"][0, 0, 2, 2] == 0
  assert (small["propagated_confidence"] == 0).sum() == 1
  assert small["propagated_confidence"][0, 2, 2] == 0


def test_confidence_is_as_large_as_the_crop(window):
  found = FineFiller(Propagated(), FACTOR).confidence(window)
  assert found.shape == (2, SIDE, SIDE)


def test_finer_records_are_restored_as_video_is(tiny_config, tiny_data):
  """The records' crops are twice as fine as the model's."""
  config = without_unet(
    tiny_config, data=dataclasses.replace(tiny_config.data, image_size=16)
  )
  sampling = dataclasses.replace(config.sampling, detail=2)
  network = CropRestorer(dataclasses.replace(config, sampling=sampling), {})
  filler = filler_of(network)
  assert isinstance(filler, FineFiller)
  records = RecordSource(tiny_data, "test")
  _, positions = next(records.videos())
  clip = read_frames(records, list(positions), network.arrays)
  clip["propagated_confidence"][:] = 255
  made = restore_clip(filler, clip)
  covered = clip["mask"][..., 0] > 0
  # The network is its anchor, so that what was seen comes back whole, but for
  # what is rounded twice.
  apart = np.abs(made[covered].astype(int) - clip["propagated"][covered])
  assert apart.max() <= 2
  assert apart.mean() < 0.3
  free = ~covered.any((1, 2))
  np.testing.assert_array_equal(made[free], clip["frame"][free])


@pytest.mark.parametrize(("lookahead", "side"), [(72, None), (0, 128)])
def test_flow_is_searched_in_the_finer_crops_unless_no_frame_waits(
  lookahead, side
):
  restorer = Restorer.from_pretrained(lookahead=lookahead)
  recipe = restorer.settings(StreamOptions())["recipe"]
  assert (recipe["size"], recipe["flow_side"]) == (256, side)
