import dataclasses
import shutil
from fractions import Fraction

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_generated_pb2 as tf_example

from diffmvr_jax.data.record_codec import (
  EncodedFrame,
  FrameRecord,
  decode_frame,
  encode_frame,
)
from diffmvr_jax.data.records import (
  RecordSource,
  ShardWriter,
  index_path,
  shard_name,
)
from diffmvr_jax.errors import InputError


def record(index=0, **changes):
  rng = np.random.default_rng(index)
  smooth = np.linspace(0, 255, 24 * 24 * 3).reshape(24, 24, 3)
  fields = {
    "video_id": "clip",
    "frame_index": index,
    "fps": Fraction(30000, 1001),
    "time": Fraction(1001 * index, 30000),
    "image": smooth.astype(np.uint8),
    "target": smooth.astype(np.uint8),
    "mask": rng.integers(0, 2, (24, 24)).astype(np.uint8),
    "symmetric": smooth.astype(np.uint8),
    "symmetric_mask": rng.integers(0, 2, (24, 24)).astype(np.uint8),
    "symmetric_valid": True,
    "past_index": index - 1,
    "crop_transform": rng.normal(size=(2, 3)).astype(np.float32),
    "landmarks": rng.normal(size=(21, 2)).astype(np.float32),
    "source_path": "ä/clip.mp4",
    "source_sha256": "00" * 32,
    "propagated": smooth.astype(np.uint8),
    "propagated_confidence": rng.integers(0, 256, (24, 24)).astype(np.uint8),
    "source_index": np.array([index - 1, 3, -1, 0]),
    "source_flow": rng.normal(size=(4, 12, 12, 2)).astype(np.float16),
  }
  return FrameRecord(**(fields | changes))


def reread(frame):
  return decode_frame(EncodedFrame(encode_frame(frame)))


@pytest.fixture
def folder(tmp_path):
  with ShardWriter(tmp_path / shard_name("train", 0, 1)) as writer:
    for i in range(3):
      writer.write(record(i))
  return tmp_path


def test_round_trip_keeps_everything_but_jpeg_loss():
  original = record()
  decoded = reread(original)
  for field in dataclasses.fields(FrameRecord):
    before = getattr(original, field.name)
    after = getattr(decoded, field.name)
    if field.name in ("source_images", "source_known"):
      assert after is None  # are found by their index
    elif field.name in ("image", "target", "symmetric", "propagated"):
      assert np.abs(before.astype(int) - after).max() <= 6
    else:
      np.testing.assert_array_equal(before, after)


def test_equal_images_are_stored_and_decoded_once():
  original = record()
  same = dataclasses.replace(
    original,
    target=original.image,
    symmetric=original.image,
    propagated=original.image,
  )
  assert encode_frame(same) == encode_frame(original)
  decoded = reread(same)
  assert decoded.target is decoded.image
  assert decoded.propagated is decoded.image


def test_records_without_aligned_guidance_stay_readable():
  names = ["propagated", "propagated_confidence", "source_index", "source_flow"]
  decoded = reread(record(**dict.fromkeys(names)))
  assert all(getattr(decoded, name) is None for name in names)


def test_damaged_flows_are_refused():
  example = tf_example.Example.FromString(encode_frame(record()))
  feature = example.features.feature["source_flow"]
  feature.bytes_list.value[0] = b"nothing"
  with pytest.raises(ValueError, match="does not decompress"):
    decode_frame(EncodedFrame(example.SerializeToString()))


def test_a_real_occlusion_has_no_target():
  assert reread(record(target=None)).target is None


def test_frames_without_landmarks_are_fine():
  empty = np.zeros((0, 2), np.float32)
  decoded = reread(record(landmarks=empty))
  assert decoded.landmarks.shape == (0, 2)


def test_random_access_finds_every_frame(folder):
  source = RecordSource(folder, "train")
  assert [source[i].frame_index for i in (2, 0, 1)] == [2, 0, 1]
  assert source.position("clip", 1) == 1
  assert list(source.videos()) == [("clip", range(3))]


def test_every_flipped_byte_is_found(folder):
  shard = folder / shard_name("train", 0, 1)
  intact = shard.read_bytes()
  source = RecordSource(folder, "train")
  start, end = source.index.offset[1], source.index.offset[2]
  for position in [*range(start, start + 40), (start + end) // 2, end - 1]:
    damaged = bytearray(intact)
    damaged[position] ^= 0x10
    shard.write_bytes(damaged)
    source = RecordSource(folder, "train")
    with pytest.raises(InputError) as caught:
      source[1]
    message = str(caught.value)
    assert f"{shard}: record 1 at byte {start}" in message
    assert source[0].frame_index == 0  # the others stay readable
    assert source[2].frame_index == 2


def test_a_truncated_shard_keeps_its_complete_records(folder):
  shard = folder / shard_name("train", 0, 1)
  shard.write_bytes(shard.read_bytes()[:-5])
  source = RecordSource(folder, "train")
  assert source[1].frame_index == 1
  with pytest.raises(InputError, match=r"record 2 at byte .* truncated"):
    source[2]


def test_a_failed_write_leaves_nothing(tmp_path):
  with (
    pytest.raises(RuntimeError),
    ShardWriter(tmp_path / "a.tfrecord") as writer,
  ):
    writer.write(record())
    raise RuntimeError
  assert list(tmp_path.iterdir()) == []


def test_missing_parts_are_named(folder, tmp_path_factory):
  empty = tmp_path_factory.mktemp("empty")
  with pytest.raises(InputError, match="no train records here"):
    RecordSource(empty, "train")
  with pytest.raises(InputError, match="no such data folder"):
    RecordSource(empty / "nowhere", "train")
  shard = folder / shard_name("train", 0, 1)
  shutil.copy(shard, empty / shard_name("train", 0, 2))
  with pytest.raises(InputError, match="1 of 2 train shards"):
    RecordSource(empty, "train")
  index_path(shard).write_text('{"offset": [')
  with pytest.raises(InputError, match=r"index\.json: damaged"):
    RecordSource(folder, "train")


def test_equal_records_give_equal_bytes():
  assert encode_frame(record(1)) == encode_frame(record(1))


def test_export_is_a_tfds_data_set(tiny_data):
  builder = tfds.builder_from_directory(tiny_data)
  source = RecordSource(tiny_data, "train")
  assert builder.info.splits["train"].num_examples == len(source)
  assert builder.info.features["image"].shape == (32, 32, 3)
