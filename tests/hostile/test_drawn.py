"""What nobody has thought of: drawn configurations, files, and damage.

Whatever is drawn is either used or refused in one line.
"""

import argparse
import contextlib
import json
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffmvr_jax.command_line.arguments import (
  frame_rate,
  frame_size,
  number_range,
  whole,
)
from diffmvr_jax.command_line.bounds import Bounds
from diffmvr_jax.config import completed, from_dict, load_config, to_json
from diffmvr_jax.data.records import RecordSource, index_path
from diffmvr_jax.errors import InputError
from diffmvr_jax.media.pictures import decode_picture
from diffmvr_jax.media.video import frame_estimate, probe, read_frames
from diffmvr_jax.weights.files import open_tensors
from diffmvr_jax.weights.layouts import layout_of
from tests.config.numbers import NUMBERS
from tests.conftest import TINY
from tests.hostile import made
from tests.hostile.test_records import SHARD, data_set

CONFIG = load_config(TINY)

scalars = (
  st.none()
  | st.booleans()
  | st.integers(-3, 3)
  | st.integers()
  | st.floats()
  | st.text(max_size=8)
)
trees = st.recursive(
  scalars,
  lambda inner: (
    st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4)
  ),
  max_leaves=8,
)


@contextlib.contextmanager
def refused():
  """What happens within is fine, or one line of `InputError`."""
  try:
    yield
  except InputError as error:
    assert str(error) and "\n" not in str(error)


@contextlib.contextmanager
def folder():
  with tempfile.TemporaryDirectory() as name:
    yield Path(name)


@given(key=st.sampled_from(sorted(NUMBERS)), value=scalars | st.tuples(scalars))
def test_a_setting_of_any_value(key, value):
  with refused():
    config = completed(CONFIG, [f"{key}={value!r}"])
    assert from_dict(json.loads(to_json(config))) == config


@given(st.text(max_size=30))
def test_an_override_of_any_text(text):
  with refused():
    completed(CONFIG, [text])


@given(trees)
def test_a_configuration_of_any_form(tree):
  with refused():
    from_dict(tree if isinstance(tree, dict) else {"name": tree})


@given(key=st.sampled_from(["model", "data", "sampling", "mesh"]), value=trees)
def test_a_section_of_any_form(key, value):
  with refused():
    from_dict(json.loads(to_json(CONFIG)) | {key: value})


def read_all(where):
  source = RecordSource(where / "data", "train")
  for i in range(len(source)):
    source.past_position(i)
    with refused():
      source[i]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
  """A good data set, and its index."""
  where = tmp_path_factory.mktemp("records")
  data_set(where)
  return where, json.loads(index_path(where / "data" / SHARD).read_text())


columns = st.sampled_from(
  ["offset", "length", "video_id", "frame_index", "past_index", "occlusion"]
)


@given(changes=st.dictionaries(columns, trees, max_size=2))
def test_an_index_of_any_form(changes, told):
  where, index = told
  index_path(where / "data" / SHARD).write_text(json.dumps(index | changes))
  with refused():
    read_all(where)


@given(
  column=st.sampled_from(["offset", "length", "frame_index", "past_index"]),
  values=st.lists(st.integers(-2, 20) | st.integers(), min_size=3, max_size=3),
)
def test_an_index_of_any_numbers(column, values, told):
  where, index = told
  changed = json.dumps(index | {column: values})
  index_path(where / "data" / SHARD).write_text(changed)
  with refused():
    read_all(where)


@given(where=st.integers(0), bits=st.integers(1, 255))
def test_a_shard_of_any_damage(where, bits, told):
  place, index = told
  index_path(place / "data" / SHARD).write_text(json.dumps(index))
  shard = place / "data" / SHARD
  good = shard.read_bytes()
  bad = bytearray(good)
  bad[where % len(bad)] ^= bits
  shard.write_bytes(bytes(bad))
  try:
    source = RecordSource(place / "data", "train")
    damaged = 0
    for i in range(len(source)):
      try:
        source[i]
      except InputError as error:
        assert SHARD in str(error)
        damaged += 1
    assert damaged == 1
  finally:
    shard.write_bytes(good)


damage = st.lists(
  st.tuples(st.integers(0), st.binary(min_size=1, max_size=8)),
  min_size=1,
  max_size=4,
)


def damaged(data, changes):
  changed = bytearray(data)
  for where, what in changes:
    at = where % len(changed)
    changed[at : at + len(what)] = what
  return bytes(changed)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
  """The bytes of a small clip in each kind of container."""
  where = tmp_path_factory.mktemp("clips")
  lossy = {"codec": "mpeg4", "pixels": "yuv420p"}
  return {
    ".mkv": made.clip(where / "a.mkv").read_bytes(),
    ".mp4": made.clip(where / "a.mp4", **lossy).read_bytes(),
    ".avi": made.clip(where / "a.avi", **lossy).read_bytes(),
  }


def decode(path):
  with refused():
    probe(path)
  with refused():
    assert frame_estimate(path) >= 0
  with refused():
    for count, _ in enumerate(read_frames(path)):
      assert count < 1000


@given(kind=st.sampled_from([".mkv", ".mp4", ".avi"]), changes=damage)
def test_a_video_of_any_damage(kind, changes, clips):
  with folder() as where:
    path = where / f"a{kind}"
    path.write_bytes(damaged(clips[kind], changes))
    decode(path)


@given(
  text=st.text(max_size=18) | st.from_regex(r"\d+:\d+:\d+", fullmatch=True)
)
def test_a_duration_of_any_text(text, clips):
  new = text.encode("utf-8", "replace")[:18].ljust(18, b"\0")
  data = clips[".mkv"]
  at = data.rindex(b"00:00:00.")
  with folder() as where:
    (where / "a.mkv").write_bytes(data[:at] + new + data[at + 18 :])
    decode(where / "a.mkv")


@given(st.binary(max_size=99))
def test_a_video_of_any_bytes(data):
  with folder() as where:
    (where / "a.mkv").write_bytes(data)
    decode(where / "a.mkv")


@given(st.binary(max_size=60) | damage.map(lambda d: damaged(bytes(90), d)))
def test_a_picture_of_any_bytes(data):
  with refused():
    decode_picture(b"\x89PNG\r\n\x1a\n" + data, "a.png")


def load(path):
  with refused():
    found = open_tensors(path)
    layout_of(found)
    for tensor in found.values():
      with refused():
        tensor.float32()


numbers = st.integers(-1, 9) | st.integers(0, 2**64)
headers = st.dictionaries(
  st.text(max_size=4),
  st.fixed_dictionaries(
    {},
    optional={
      "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "F99"]),
      "shape": st.lists(numbers, max_size=3),
      "data_offsets": st.lists(numbers, min_size=2, max_size=2),
    },
  )
  | trees,
  max_size=3,
)


@given(header=headers, data=st.binary(max_size=32), longer=st.integers(-8, 8))
def test_weights_of_any_header(header, data, longer):
  text = json.dumps(header).encode()
  length = struct.pack("<Q", max(0, len(text) + longer))
  with folder() as where:
    (where / "a.safetensors").write_bytes(length + text + data)
    load(where / "a.safetensors")


@given(trees)
def test_an_index_of_shards_of_any_form(tree):
  with folder() as where:
    path = where / "a.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": tree}))
    load(path)


@pytest.fixture(scope="module")
def pickled(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "a.pth"
  torch.save({"a": torch.ones(4), "b": {"c": torch.ones(2)}}, path)
  return path.read_bytes()


@given(changes=damage)
def test_a_pickle_of_any_damage(changes, pickled):
  with folder() as where:
    (where / "a.pth").write_bytes(damaged(pickled, changes))
    load(where / "a.pth")


@given(tree=trees)
def test_a_pickle_of_any_content(tree):
  with folder() as where:
    torch.save(tree, where / "a.pth")
    load(where / "a.pth")


PARSERS = [frame_rate, frame_size, number_range(Bounds(0, 1)), whole(1)]


@given(text=st.text(max_size=12) | st.from_regex(r"[0-9.x/e-]{1,12}"))
@pytest.mark.parametrize("parse", PARSERS, ids=["rate", "size", "range", "n"])
def test_an_argument_of_any_text(parse, text):
  try:
    assert parse(text)
  except argparse.ArgumentTypeError as error:
    assert str(error)
