"""Restoring as frames come: the same pixels at any latency, flat memory."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.stream import (
  SourceFrame,
  StreamOptions,
  restore_stream,
)


@pytest.fixture(scope="module")
def restorer(tiny_checkpoint):
  return CropRestorer.from_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def frames(tiny_data):
  """A clip whose frames are their own crops."""
  records = RecordSource(tiny_data, "test")
  _, positions = next(records.videos())
  identity = np.eye(2, 3, dtype=np.float32)
  crops = [replace(records[i], crop_transform=identity) for i in positions]
  return [SourceFrame(c.image, 40 * k, c) for k, c in enumerate(crops)]


def images(restorer, frames, **options):
  return np.stack(
    [
      done.image
      for done in restore_stream(restorer, frames, StreamOptions(**options))
    ]
  )


@pytest.fixture(scope="module")
def restored(restorer, frames):
  return images(restorer, frames)


@pytest.mark.parametrize("latency", [0, 1, 5, 1000])
def test_latency_changes_no_pixel(latency, restorer, frames, restored):
  again = images(restorer, frames, latency=latency).astype(int)
  # Programs of other batch sizes round differently.
  assert np.abs(again - restored).max() <= 1


@pytest.mark.parametrize("latency", [0, 3])
def test_a_frame_comes_out_in_time(latency, restorer, frames):
  came_in = 0

  def feed():
    nonlocal came_in
    for frame in frames:
      came_in += 1
      yield frame

  for number, _ in enumerate(
    restore_stream(restorer, feed(), StreamOptions(latency=latency))
  ):
    assert came_in - 1 - number <= latency


def test_it_restores_what_the_clip_restorer_does(restorer, frames, tiny_data):
  """The same network output, where a mask's pixel is replaced wholly.

  The stream alone fades where a mask goes on beyond the crop.
  """
  records = RecordSource(tiny_data, "test")
  _, positions = next(records.videos())
  clip = read_frames(records, list(positions))
  whole, compared = restorer(clip), 0
  for i, done in enumerate(restore_stream(restorer, frames)):
    if done.alpha is None:
      continue
    inside = (clip["mask"][i, ..., 0] > 0) & (done.alpha == 1)
    difference = np.abs(whole[i][inside].astype(int) - done.image[inside])
    assert difference.max(initial=0) <= 1
    compared += inside.sum()
  assert compared > 0.2 * clip["mask"].sum()


def test_frames_without_occlusion_or_face_pass_through(restorer, frames):
  blind = [SourceFrame(f.image, f.pts, None) for f in frames]
  for before, done in zip(frames, restore_stream(restorer, blind), strict=True):
    assert done.image is before.image
  for done in restore_stream(restorer, frames):
    if not done.source.occluded:
      assert done.image is done.source.image


def test_memory_is_flat(restorer, frames):
  """Of ten times as long a video no frames are kept."""

  def peak(repetitions):
    def feed():
      for r in range(repetitions):
        for frame in frames:
          yield SourceFrame(frame.image.copy(), r, frame.record)

    tracemalloc.start()
    for _ in restore_stream(restorer, feed(), StreamOptions(latency=8)):
      pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most

  peak(1)
  more = 18 * len(frames) * frames[0].image.nbytes
  assert peak(20) - peak(2) < 0.1 * more
