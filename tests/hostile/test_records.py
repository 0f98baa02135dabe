"""Data sets whose files lie: indexes, records, manifests, statistics."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_generated_pb2 as tf_example

from data_prep.__main__ import main as data_prep
from diffmvr_jax import evaluate, train
from diffmvr_jax.data import records as records_module
from diffmvr_jax.data.record_codec import FrameRecord, encode_frame
from diffmvr_jax.data.records import (
  RecordSource,
  ShardWriter,
  index_path,
  shard_name,
)
from diffmvr_jax.errors import InputError
from tests.conftest import TINY
from tests.hostile import made
from tests.hostile.made import file, making
from tests.hostile.running import Case, content, ended, judge

SHARD = shard_name("train", 0, 1)
INDEX = f"data/{SHARD}.index.json"


def frame(index, side=16):
  image = np.full((side, side, 3), 40 * index, np.uint8)
  empty = np.zeros((side, side), np.uint8)
  return FrameRecord(
    video_id="clip",
    frame_index=index,
    fps=Fraction(25),
    time=Fraction(index, 25),
    image=image,
    target=image,
    mask=np.ones_like(empty),
    symmetric=image,
    symmetric_mask=empty,
    symmetric_valid=True,
    past_index=index - 1,
    crop_transform=np.eye(2, 3, dtype=np.float32),
    landmarks=np.zeros((0, 2), np.float32),
    source_path="clip.mkv",
    source_sha256="0" * 64,
  )


def data_set(folder, encode=encode_frame):
  """Three frames, of which `encode` makes the bytes."""
  (folder / "data").mkdir()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(records_module, "encode_frame", encode)
    with ShardWriter(folder / "data" / SHARD) as writer:
      for i in range(3):
        writer.write(frame(i))


def index(change):
  """A data set with another index."""

  def make(folder):
    data_set(folder)
    path = index_path(folder / "data" / SHARD)
    told = json.loads(path.read_text())
    changed = change(told)
    path.write_text(json.dumps(told if changed is None else changed))

  return make


def put(key, value):
  return index(lambda told: told.update({key: value}))


INDEXES = {
  "a list": (index(lambda told: [1]), "no JSON object"),
  "a number": (index(lambda told: 3), "no JSON object"),
  "nothing": (index(lambda told: {}), "its keys are not"),
  "one key less": (
    index(lambda told: {k: told[k] for k in told if k != "length"}),
    "its keys are not",
  ),
  "one key more": (put("mood", [1, 2, 3]), "its keys are not"),
  "words": (put("offset", ["a", "b", "c"]), "offset is no list of int"),
  "fractions": (put("length", [1.5, 2, 3]), "length is no list of int"),
  "null": (put("offset", None), "offset is no list"),
  "nulls": (put("frame_index", [None] * 3), "frame_index is no list of int"),
  "truth": (put("past_index", [True] * 3), "past_index is no list of int"),
  "names of numbers": (put("video_id", [1, 2, 3]), "video_id is no list of st"),
  "one short": (put("offset", [0, 1]), "differ in length"),
  "one long": (put("occlusion", [0.5] * 4), "differ in length"),
  "no frame": (index(lambda t: {k: [] for k in t}), "it lists no frame"),
  "negative offsets": (put("offset", [-1, 0, 0]), "offset has a negative"),
  "negative lengths": (put("length", [-17, 0, 0]), "length has a negative"),
  "huge offsets": (put("offset", [2**70, 0, 0]), "offset has a .* impossible"),
  "huge lengths": (put("length", [2**62, 0, 0]), "length has a .* impossible"),
  "negative frames": (put("frame_index", [-1, 0, 1]), "frame_index has a neg"),
  "the far past": (put("past_index", [-2, 0, 1]), "past_index has a negative"),
  "text": (making(data_set, file(INDEX, "no JSON")), "damaged"),
  "half": (making(data_set, file(INDEX, '{"offset": [')), "damaged"),
  "empty": (making(data_set, file(INDEX)), "damaged"),
  "not UTF-8": (making(data_set, file(INDEX, b'{"\xff": 1}')), "damaged"),
  "deep": (making(data_set, file(INDEX, "[" * 10**5)), "damaged"),
  "gone": (
    making(data_set, lambda f: (f / INDEX).unlink()),
    "index.json: no such file",
  ),
  "a folder": (
    making(
      data_set, lambda f: (f / INDEX).unlink(), lambda f: (f / INDEX).mkdir()
    ),
    "index.json: no such file",
  ),
  "a pipe": (
    making(
      data_set, lambda f: (f / INDEX).unlink(), lambda f: made.fifo(f / INDEX)
    ),
    "index.json: a pipe or device",
  ),
}


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("command", ["inspect", "train"])
def test_an_index_that_lies(command, name, tmp_path):
  make, said = INDEXES[name]
  settings = ["--config", TINY, "--workdir", "{folder}/run"]
  main, arguments = {
    "inspect": (data_prep, ["inspect", "{folder}/data"]),
    "train": (train.main, [*settings, "data.path={folder}/data"]),
  }[command]
  judge(Case(name, main, arguments, said, make), tmp_path)


def changed(change):
  """A data set whose second record is another one."""

  def encode(record):
    data = encode_frame(record)
    if record.frame_index != 1:
      return data
    example = tf_example.Example.FromString(data)
    other = change(example.features.feature)
    if isinstance(other, bytes):
      return other
    return example.SerializeToString()

  return lambda folder: data_set(folder, encode)


def integers(key, *values):
  def change(feature):
    feature[key].ClearField("int64_list")
    feature[key].int64_list.value.extend(values)

  return changed(change)


def text(key, value):
  def change(feature):
    feature[key].ClearField("bytes_list")
    feature[key].bytes_list.value.append(value)

  return changed(change)


def numbers(key, *values):
  def change(feature):
    feature[key].ClearField("float_list")
    feature[key].float_list.value.extend(values)

  return changed(change)


def without(key):
  return changed(lambda feature: feature.pop(key) and None)


SMALL = made.cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
LYING = {
  "rate of 25/0": (integers("fps_exact", 25, 0), "'fps_exact' is 25/0"),
  "rate of 25/-1": (integers("fps_exact", 25, -1), "'fps_exact' is 25/-1"),
  "rate of -25": (integers("fps_exact", -25, 1), "'fps_exact' is -25"),
  "rate of 0": (integers("fps_exact", 0, 1), "'fps_exact' is 0"),
  "half a rate": (integers("fps_exact", 25), "'fps_exact' is missing"),
  "time of 1/0": (integers("time_exact", 1, 0), "'time_exact' is 1/0"),
  "no number": (integers("frame_index"), "'frame_index' is missing"),
  "no image": (without("image"), "'image' is missing"),
  "no mask": (without("mask"), "'mask' is missing"),
  "no source": (without("source/path"), "'source/path' is missing"),
  "an empty image": (text("image", b""), "an image does not decode"),
  "an image of text": (text("image", b"text"), "an image does not decode"),
  "a small mask": (text("mask", SMALL), r"mask is \(4, 4\), the image is"),
  "a small target": (text("target", SMALL), r"target is \(4, 4\)"),
  "a small mirror": (text("symmetric", SMALL), r"symmetric is \(4, 4\)"),
  "a name that is not UTF-8": (text("video_id", b"\xff"), "utf-8"),
  "an image of numbers": (
    changed(lambda f: f["image"].CopyFrom(f["frame_index"])),
    "'image' is missing",
  ),
  "a number of bytes": (
    changed(lambda f: f["frame_index"].CopyFrom(f["image"])),
    "'frame_index' is missing",
  ),
  "five numbers": (numbers("crop_transform", *range(5)), "no rows of 3"),
  "three numbers": (numbers("crop_transform", *range(3)), "no 2 × 3"),
  "no transform": (numbers("crop_transform"), "no 2 × 3"),
  "nan": (numbers("crop_transform", *[float("nan")] * 6), "no 2 × 3"),
  "odd landmarks": (numbers("landmarks", 1, 2, 3), "no rows of 2"),
  "a future past": (integers("past_index", 2), "its index says something"),
  "no example": (changed(lambda feature: b"\xff" * 9), "not a tf.train.Exam"),
  "nothing": (changed(lambda feature: b""), "is missing"),
}


@pytest.mark.parametrize("name", LYING)
def test_a_record_that_lies(name, tmp_path):
  make, said = LYING[name]
  arguments = ["inspect", "{folder}/data"]
  sheet = r"data/sheet-train\.png"
  judge(
    Case(name, data_prep, arguments, said, make, code=1, written=sheet),
    tmp_path,
  )


def test_a_record_that_needs_a_lost_frame(tmp_path):
  put("past_index", [-1, 7, 1])(tmp_path)
  arguments = ["inspect", "{folder}/data"]
  said = "frame 1: its index says something else"
  sheet = r"data/sheet-train\.png"
  judge(
    Case("lost", data_prep, arguments, said, code=1, written=sheet), tmp_path
  )
  with pytest.raises(InputError, match="lacks frame 7, which another frame"):
    RecordSource(tmp_path / "data", "train").past_position(1)


def test_a_shard_that_is_shorter_than_its_index(tmp_path):
  put("length", [2**40] * 3)(tmp_path)
  arguments = ["inspect", "{folder}/data"]
  judge(
    Case("short", data_prep, arguments, "the shard is truncated", code=1),
    tmp_path,
  )


EXPORT = ["export", "procedural:0", "--out", "{folder}/data", "--size", "16"]
MANIFESTS = {
  "text": "no JSON",
  "empty": "",
  "a list": "[1]",
  "nothing": "{}",
  "no failures": '{"settings": {}}',
  "failures that are none": '{"settings": {}, "failed": [1]}',
  "failures of another form": '{"settings": {}, "failed": [{"a": 1}]}',
  "a number of failures": '{"settings": {}, "failed": 3}',
  "not UTF-8": b'{"settings": "\xff"}',
  "deep": "{" * 10**5,
}


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("where", ["manifest.json", "parts/settings.json"])
def test_a_manifest_that_lies(where, name, tmp_path):
  make = file(f"data/{where}", MANIFESTS[name])
  only_settings = where != "manifest.json" and name == "no failures"
  said = "with other settings" if only_settings else f"{where}: damaged"
  judge(Case(name, data_prep, EXPORT, said, make), tmp_path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
  """An export of which one of two videos is done."""
  folder = tmp_path_factory.mktemp("begun")
  two = ["export", "procedural:0-1", "--out", str(folder / "data")]
  how = ended(data_prep, [*two, "--size", "16", "--shard", "0/2"])
  assert how.code == 0, how.lines
  return folder / "data"


@pytest.mark.parametrize("told", ["no JSON", "", "[]", "{}", '{"frames": "x"}'])
def test_statistics_that_lie(told, begun, tmp_path):
  shutil.copytree(begun, tmp_path / "data")
  (statistics,) = (tmp_path / "data" / "parts").glob("*_00000.json")
  statistics.write_text(told)
  before = content(tmp_path)
  two = ["export", "procedural:0-1", "--out", tmp_path / "data"]
  how = ended(data_prep, [*two, "--size", "16"])
  (line,) = how.lines
  assert how.code == 2 and f"{statistics.name}: damaged" in line
  assert "delete" in line and content(tmp_path) == before


def test_evaluate_refuses_what_inspect_does(tmp_path):
  put("offset", [-1, 0, 0])(tmp_path)
  arguments = ["--data", "{folder}/data", "--split", "train", "--metrics"]
  arguments += ["psnr", "--out", "{folder}/report"]
  judge(Case("index", evaluate.main, arguments, "offset has a"), tmp_path)
