from types import MappingProxyType

import numpy as np
import pytest

from diffmvr_jax.inference.carried_filling import CarriedFiller, carried
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.finding import LIVE
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import StreamOptions
from tests.data_prep.clips import CentredRecipe, drawn

SIZE = 32


class Brighter:
  """Makes the propagated image brighter, and counts its calls."""

  crop_size, window, aligned = SIZE, 4, "sources"
  provenance = MappingProxyType({"method": "brighter"})

  def __init__(self):
    self.filled = []

  def confidence(self, window):
    return window["propagated_confidence"][..., 0]

  def fill(self, window, frame_index, seed, *, previous=None):
    self.filled += frame_index.tolist()
    return window["propagated"] + np.uint8(20)


def smooth(x, y):
  """A picture that is (x, y) pixels further to the left and up."""
  row, column = np.mgrid[:SIZE, :SIZE].astype(np.float32)
  wave = np.sin((column + x) / 5) + np.cos((row + y) / 4)
  return (110 + 40 * wave[..., None] * [1, 0.8, 0.6]).astype(np.uint8)


def window_of(valid, x=0.0):
  flow = np.zeros((1, 4, SIZE // 2, SIZE // 2, 2), np.float16)
  flow[..., 0] = x
  pictures = np.stack([smooth(0, 0)] * 4)
  return {
    "frame": smooth(x, 0)[None],
    "propagated": smooth(x, 0)[None],
    "propagated_confidence": np.full((1, SIZE, SIZE, 1), 200, np.uint8),
    "sources": pictures[None],
    "source_flow": flow,
    "source_valid": np.array([valid]),
  }


ALONE, TOGETHER = [True, False, False, False], [True, True, False, True]


def test_what_was_changed_moves_on_with_the_flow():
  change = np.zeros((SIZE, SIZE, 3), np.uint8)
  change[10:22, 12:20] = 30
  flow = np.zeros((SIZE // 2, SIZE // 2, 2), np.float32)
  flow[..., 0] = 4  # the face has moved four pixels to the left
  before, now = smooth(0, 0), smooth(4, 0)
  moved = carried(now, before, flow, before + change).astype(int) - now
  np.testing.assert_array_equal(moved[:, : SIZE - 4], change[:, 4:])


def test_a_frame_that_was_not_looked_back_from_is_carried():
  inner = Brighter()
  filler = CarriedFiller(inner)
  looked, carried_on = window_of(TOGETHER), window_of(ALONE, x=2.0)
  first = filler.fill(looked, np.array([5]), 0)
  second = filler.fill(carried_on, np.array([6]), 0, previous=first[0])
  assert inner.filled == [5]
  change = second[0].astype(int) - carried_on["propagated"][0]
  assert np.abs(change - 20).max() <= 1


def test_no_more_than_three_frames_in_a_row_are_carried():
  inner = Brighter()
  filler = CarriedFiller(inner)
  previous = None
  for number in range(5, 15):
    window = window_of(TOGETHER if previous is None else ALONE)
    filled = filler.fill(window, np.array([number]), 0, previous=previous)
    previous = filled[0]
  assert inner.filled == [5, 9, 13]  # what is carried blurs
  # Another stream, which begins anew.
  filler.fill(window_of(ALONE), np.array([2]), 0, previous=previous)
  assert inner.filled == [5, 9, 13, 2]


@pytest.mark.parametrize(
  ("window", "has_previous"),
  [(window_of(TOGETHER), True), (window_of(ALONE), False)],
)
def test_other_frames_go_to_the_other_method(window, has_previous):
  inner = Brighter()
  filler = CarriedFiller(inner)
  previous = smooth(0, 0) if has_previous else None
  filler.fill(window, np.array([5]), 0, previous=previous)
  assert inner.filled == [5]


def test_windows_without_sources_go_to_the_other_method():
  inner = Brighter()
  window = window_of(ALONE)
  for name in ("sources", "source_flow", "source_valid"):
    del window[name]
  CarriedFiller(inner).fill(window, np.array([5]), 0, previous=smooth(0, 0))
  assert inner.filled == [5]


def test_it_is_the_other_method_in_all_else():
  inner = Brighter()
  filler = CarriedFiller(inner)
  assert (filler.crop_size, filler.window, filler.aligned) == (
    SIZE,
    4,
    "sources",
  )
  assert filler.provenance == inner.provenance
  np.testing.assert_array_equal(
    filler.confidence(window_of(ALONE)), np.full((1, SIZE, SIZE), 200)
  )


def test_live_the_shipped_network_fills_every_other_covered_frame(monkeypatch):
  filled = []
  fill = CropRestorer.fill

  def counted(self, window, frame_index, seed, *, previous=None):
    filled.extend(frame_index.tolist())
    return fill(self, window, frame_index, seed, previous=previous)

  monkeypatch.setattr(CropRestorer, "fill", counted)
  images = np.stack(drawn(3)[0][:12])
  masks = np.zeros(images.shape[:3], np.uint8)
  masks[4:, 70:110, 60:95] = 1
  filler = CropRestorer.from_checkpoint("pretrained:faces128")
  restorer = Restorer(filler, CentredRecipe(size=128, **LIVE))
  options = StreamOptions(latency=0)
  restored = restorer(images, masks, options=options)
  assert filled == [4, 6, 8, 10]
  changed = np.abs(restored.astype(int) - images).max((1, 2, 3)) > 0
  assert changed.tolist() == [False] * 4 + [True] * 8
