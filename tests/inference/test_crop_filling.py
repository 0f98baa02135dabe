"""Windows of occluded frames, filled by a method that has no network."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.inference.crop_filling import CropFiller, fill_occluded
from diffmvr_jax.inference.stream import (
  SourceFrame,
  StreamOptions,
  restore_stream,
)


@dataclass
class CopiedPast:
  """Copies the past frame, and notes what it is asked for."""

  crop_size: int = 32
  window: int = 3
  aligned: str = "none"
  provenance: dict = field(default_factory=dict)
  asked: list = field(default_factory=list)

  def fill(self, window, frame_index, seed, *, previous=None):
    self.asked.append((frame_index.tolist(), seed, previous is not None))
    return window["past"] + np.uint8(seed)

  def confidence(self, window):
    return None


@pytest.fixture(scope="module")
def frames(tiny_data):
  """A clip whose frames are their own crops."""
  records = RecordSource(tiny_data, "test")
  _, positions = next(records.videos())
  identity = np.eye(2, 3, dtype=np.float32)
  crops = [replace(records[i], crop_transform=identity) for i in positions]
  return [SourceFrame(c.image, k, c) for k, c in enumerate(crops)]


def test_a_method_without_a_network_restores_a_stream(frames):
  filler = CopiedPast()
  assert isinstance(filler, CropFiller)
  done = list(restore_stream(filler, frames))
  assert [d.source.pts for d in done] == [f.pts for f in frames]
  covered = [f for f in frames if f.occluded]
  assert covered
  asked = [i for indices, _, _ in filler.asked for i in indices]
  assert asked == [f.record.frame_index for f in covered]
  for one in done:
    if one.source.occluded and one.past is not None:
      inside = one.alpha == 1
      np.testing.assert_array_equal(one.image[inside], one.past[inside])
    else:
      assert one.source.occluded or one.image is one.source.image


def test_every_seed_goes_on_from_its_own_last_crop(frames):
  filler = CopiedPast(window=1)
  for _ in restore_stream(filler, frames, StreamOptions(seed=4, samples=2)):
    pass
  last = {}
  for (index,), seed, follows in filler.asked:
    assert follows == (last.get(seed) == index - 1)
    last[seed] = index
  assert set(last) == {4, 5}
  assert any(follows for _, _, follows in filler.asked)


@pytest.mark.parametrize(
  ("length", "latency", "windows"),
  [
    (9, 99, [[1, 2, 4, 5]]),
    (2, 99, [[1, 2], [4, 5]]),
    (3, 99, [[1, 2, 4], [5]]),
    (9, 2, [[1, 2], [4, 5]]),
    (9, 0, [[1], [2], [4], [5]]),
  ],
)
def test_a_window_is_filled_when_it_is_full_or_late(length, latency, windows):
  filled, came_in = [], []

  def feed():
    for number in range(7):
      came_in.append(number)
      yield number

  def fill(window):
    filled.append(window)
    return window

  for number, result in fill_occluded(
    feed(),
    is_occluded=lambda n: n in (1, 2, 4, 5),
    fill=fill,
    length=length,
    latency=latency,
  ):
    assert result == (number if number in (1, 2, 4, 5) else None)
    assert len(came_in) - 1 - number <= latency
  assert filled == windows
