"""Restoration without training."""

import numpy as np

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.inference.baselines import telea, temporal_median


def test_the_median_looks_where_the_pixel_is_seen(tiny_data):
  records = RecordSource(tiny_data, "test")
  _, positions = next(records.videos())
  arrays = read_frames(records, list(positions))
  still = np.repeat(arrays["target"][:1], 8, axis=0)
  masks = np.zeros((8, 32, 32, 1), np.uint8)
  masks[3:5, 8:20, 8:20] = 1
  frames = np.where(masks > 0, 255 - still, still)
  made = temporal_median(arrays | {"frame": frames, "mask": masks})
  # The feathered edge blends with what was there.
  inside = slice(11, 17)
  np.testing.assert_array_equal(
    made[:, inside, inside], still[:, inside, inside]
  )
  everywhere = np.ones_like(masks)
  always = arrays | {"frame": frames, "mask": everywhere}
  np.testing.assert_array_equal(temporal_median(always), telea(always))
