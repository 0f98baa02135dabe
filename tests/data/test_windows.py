import dataclasses

import numpy as np
import pytest

from data_prep.occlusion.paste import OcclusionConfig
from data_prep.recipe import Recipe
from diffmvr_jax.config import DataConfig
from diffmvr_jax.data.batches import training_batches
from diffmvr_jax.data.in_memory import InMemory
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.stack import stack_frames
from diffmvr_jax.data.windows import (
  PROPAGATED,
  SOURCES,
  WindowSource,
  array_types,
  read_frames,
  stored_arrays,
)
from diffmvr_jax.errors import InputError

CONFIG = DataConfig(image_size=32, window=3, threads=2)


@pytest.fixture(scope="module")
def records(tiny_data):
  return RecordSource(tiny_data, "train")


@pytest.fixture(scope="module")
def windows(records):
  return WindowSource(records, window=3, stride=2, image_size=32)


def ids(iterator, count):
  return [next(iterator)["window_id"].tolist() for _ in range(count)]


def test_windows_stay_in_one_video_and_hold_an_occlusion(records, windows):
  starts = {span.start for _, span in records.videos()}
  for i in range(len(windows)):
    window = windows[i]
    first = int(window["window_id"])
    span = range(first + 1, first + 5)
    assert not starts.intersection(span)
    assert window["mask"].any()


def test_the_past_frame_is_unoccluded_and_earlier(records):
  for video_id, positions in records.videos():
    for position in positions:
      frame = records[position]
      if frame.past_index < 0:
        continue
      assert frame.past_index < frame.frame_index
      past = records[records.position(video_id, frame.past_index)]
      assert not past.mask.any()
      between = range(past.frame_index + 1, frame.frame_index)
      for index in between:  # it is the most recent one
        assert records[records.position(video_id, index)].mask.any()


def test_read_frames_looks_the_past_image_up(records):
  position = next(
    i for i in range(len(records)) if records.index.past_index[i] >= 0
  )
  frame = records[position]
  window = read_frames(records, [position])
  past = records[records.position(frame.video_id, frame.past_index)]
  np.testing.assert_array_equal(window["past"][0], past.image)
  assert window["past_valid"].tolist() == [True]
  first = read_frames(records, [next(records.videos())[1].start])
  assert first["past_valid"].tolist() == [False]


ALIGNED = (*PROPAGATED, *SOURCES)


@pytest.fixture(scope="module")
def aligned(records):
  return WindowSource(
    records, window=4, stride=1, image_size=32, arrays=ALIGNED
  )


def test_aligned_arrays_are_read_if_asked_for(records, windows, aligned):
  assert not set(ALIGNED) & set(windows[0])
  window = aligned[len(aligned) // 2]
  for name, (shape, kind) in array_types(32, ALIGNED).items():
    assert window[name].shape == (4, *shape)
    assert window[name].dtype == kind
  assert stored_arrays(records, 0) == ALIGNED
  covered = window["mask"][..., 0] > 0
  assert covered.any()
  sure = window["propagated_confidence"][..., 0]
  assert (sure[~covered] == 255).all() and sure[covered].min() < 255


def test_sources_are_the_propagated_images_of_frames_before(records):
  for video_id, positions in records.videos():
    window = read_frames(records, list(positions), ALIGNED)
    assert window["source_valid"].any()
    for k, position in enumerate(positions):
      index = records[position].source_index
      np.testing.assert_array_equal(window["source_valid"][k], index >= 0)
      assert (index < records[position].frame_index).all()
      for j in np.flatnonzero(index >= 0):
        source = records[records.position(video_id, int(index[j]))]
        image, known = window["sources"][k, j], window["source_known"][k, j]
        np.testing.assert_array_equal(image, source.propagated)
        confidence = source.propagated_confidence
        np.testing.assert_array_equal(known[..., 0], confidence > 0)
      assert not window["sources"][k][index < 0].any()
      assert not window["source_known"][k][index < 0].any()


def test_mirrored_windows_mirror_the_flow(aligned):
  i = next(i for i in range(len(aligned)) if aligned[i]["source_valid"].all())
  plain, mirrored = (aligned.read([i], [flip]) for flip in (False, True))
  for name in ("propagated", "propagated_confidence", "sources"):
    np.testing.assert_array_equal(
      mirrored[name], np.flip(plain[name], axis=-2), err_msg=name
    )
  known = mirrored["source_known"]
  np.testing.assert_array_equal(known, np.flip(plain["source_known"], -2))
  flow = np.flip(plain["source_flow"], -2)
  assert flow.any()
  np.testing.assert_array_equal(mirrored["source_flow"][..., 0], -flow[..., 0])
  np.testing.assert_array_equal(mirrored["source_flow"][..., 1], flow[..., 1])


def test_frames_in_memory_give_the_same_arrays():
  records = [
    record
    for record in Recipe(size=32, paste=OcclusionConfig()).records(0)
    if isinstance(record, FrameRecord)
  ]
  by_index = {record.frame_index: record for record in records}
  window = stack_frames(records, lambda f: by_index[f.past_index].image)
  types = array_types(32, ALIGNED)
  assert set(window) == set(types)
  for name, (shape, kind) in types.items():
    assert window[name].shape == (len(records), *shape)
    assert window[name].dtype == kind
  for k, record in enumerate(records):
    for j, index in enumerate(record.source_index):
      if index >= 0:
        source = by_index[index].propagated
        np.testing.assert_array_equal(window["sources"][k, j], source)
        known = by_index[index].propagated_confidence > 0
        np.testing.assert_array_equal(
          window["source_known"][k, j, ..., 0], known
        )


def test_order_is_a_function_of_the_seed(windows):
  def run(seed):
    return ids(training_batches(windows, CONFIG, batch_size=4, seed=seed), 5)

  assert run(1) == run(1)
  assert run(1) != run(2)


def test_every_epoch_holds_every_window_once(windows):
  iterator = training_batches(windows, CONFIG, batch_size=1, seed=0)
  seen = [i for (i,) in ids(iterator, 2 * len(windows))]
  first, second = seen[: len(windows)], seen[len(windows) :]
  assert len(set(first)) == len(windows)
  assert sorted(first) == sorted(second)
  assert first != second


def test_processes_share_one_global_batch(windows):
  whole = ids(training_batches(windows, CONFIG, batch_size=4, seed=3), 4)
  parts = [
    ids(training_batches(windows, CONFIG, batch_size=4, seed=3, rows=rows), 4)
    for rows in ([0, 1], [2, 3])
  ]
  for batch, first, second in zip(whole, *parts, strict=True):
    assert batch == first + second


def test_the_state_is_the_same_for_any_number_of_processes(windows):
  whole = training_batches(windows, CONFIG, batch_size=4, seed=3)
  part = training_batches(windows, CONFIG, batch_size=4, seed=3, rows=[1, 2])
  ids(whole, 3)
  ids(part, 3)
  assert whole.get_state() == part.get_state()
  part.set_state(whole.get_state())
  assert ids(part, 1)[0] == ids(whole, 1)[0][1:3]


def test_state_resumes_at_the_next_batch(windows):
  iterator = training_batches(windows, CONFIG, batch_size=2, seed=0)
  ids(iterator, 3)
  state = iterator.get_state()
  rest = [next(iterator) for _ in range(3)]
  resumed = training_batches(windows, CONFIG, batch_size=2, seed=0)
  resumed.set_state(state)
  for expected in rest:
    actual = next(resumed)
    for name, value in expected.items():
      np.testing.assert_array_equal(actual[name], value)


def test_flips_move_every_image_of_a_window_alike(windows):
  iterator = training_batches(windows, CONFIG, batch_size=1, seed=0)
  by_id = {int(windows[i]["window_id"]): i for i in range(len(windows))}
  kept = flipped = 0
  for _ in range(20):
    batch = {name: value[0] for name, value in next(iterator).items()}
    plain = windows[by_id[int(batch["window_id"])]]
    images = ("frame", "mask", "symmetric", "past", "target")
    if all((batch[n] == plain[n]).all() for n in images):
      kept += 1
    else:
      assert all((batch[n] == plain[n][:, :, ::-1]).all() for n in images)
      flipped += 1
  assert kept and flipped


def test_impossible_requests_are_refused(records):
  with pytest.raises(InputError, match="no window of 99 frames"):
    WindowSource(records, window=99, stride=1, image_size=32)
  other = WindowSource(records, window=3, stride=1, image_size=64)
  with pytest.raises(InputError, match="crops are 32 px"):
    other[0]


def test_no_flip_is_no_flip(windows):
  config = dataclasses.replace(CONFIG, flip=False)
  iterator = training_batches(windows, config, batch_size=1, seed=0)
  by_id = {int(windows[i]["window_id"]): i for i in range(len(windows))}
  for _ in range(8):
    batch = next(iterator)
    plain = windows[by_id[int(batch["window_id"][0])]]
    np.testing.assert_array_equal(batch["frame"][0], plain["frame"])


def test_windows_in_memory_are_those_of_the_records(aligned):
  kept = InMemory(aligned, threads=2)
  assert len(kept) == len(aligned)
  order, flips = [3, 0, 3], [False, True, True]
  ours, theirs = kept.read(order, flips), aligned.read(order, flips)
  assert ours.keys() == theirs.keys()
  for name, value in theirs.items():
    np.testing.assert_array_equal(ours[name], value, err_msg=name)
  # What was handed out is nobody else's.
  ours["frame"][:] = 0
  np.testing.assert_array_equal(
    kept.read(order, flips)["frame"], theirs["frame"]
  )
