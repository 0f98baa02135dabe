"""Files of weights and models that are not what they seem."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from data_prep.__main__ import main as data_prep
from diffmvr_jax import convert, restore
from diffmvr_jax.config import load_config, to_json
from tests.conftest import TINY
from tests.hostile import made
from tests.hostile.made import file, making
from tests.hostile.running import Case, judge


def saved(value, name="w.pth"):
  return lambda folder: torch.save(value, folder / name)


class Code:
  """A pickle of it would make a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return (open, (str(self.path), "w"))


def tensors(header, data=b"", length=None):
  """A safetensors file of any header."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  size = struct.pack("<Q", len(text) if length is None else length)
  return file("w.safetensors", size + text + data)


def one(**told):
  return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | told}


PICKLES = {
  "a list": (saved([1, 2]), "holds a list, not tensors by name"),
  "a tensor": (saved(torch.ones(2)), "holds a Tensor, not tensors by name"),
  "a number": (saved(3), "holds a int, not tensors by name"),
  "nothing": (saved(None), "holds a NoneType, not tensors by name"),
  "a state of a list": (saved({"state_dict": [1]}), "holds a list"),
  "a state of a tensor": (saved({"state_dict": torch.ones(1)}), "a Tensor"),
  "an empty file": (file("w.pth"), "not readable as plain weights"),
  "text": (file("w.pth", "text"), "not readable as plain weights"),
  "a head alone": (file("w.pth", b"PK\3\4" + bytes(99)), "not readable as"),
  "code": (
    lambda folder: torch.save(Code(folder / "owned"), folder / "w.pth"),
    "not readable as plain weights",
  ),
  "a pipe": (lambda folder: made.fifo(folder / "w.pth"), "a pipe or device"),
  "a folder": (lambda f: (f / "w.pth").mkdir(), "no .safetensors or .bin"),
}
NOT_IMPORTED = {
  "no tensors": (saved({}), "of no layout that is known; it has 0 tensors"),
  "numbers as names": (saved({1: torch.ones(1)}), "it has 0 tensors"),
  "numbers by name": (saved({"a": 1, "b": "x"}), "it has 0 tensors"),
  "other names": (saved({"a.weight": torch.ones(1)}), "no layout that is"),
  "sparse": (saved({"0.weight": torch.ones(2).to_sparse()}), "0 tensors"),
  "another shape": (
    saved({"down_blocks.0.resnets.0.conv1.weight": torch.ones(1)}),
    "missing|unknown",
  ),
  "half of TAESD": (saved({"0.weight": torch.ones(1)}), "TAESD encoder needs"),
}
TENSORS = {
  "empty": (file("w.safetensors"), "not a whole safetensors file"),
  "short": (file("w.safetensors", b"\1\0\0"), "not a whole"),
  "a long head": (tensors({}, length=2**40), "not a whole"),
  "the longest head": (tensors({}, length=2**64 - 1), "not a whole"),
  "no head": (tensors({}, length=0), "not a whole"),
  "no JSON": (tensors(b"no JSON!"), "not a whole"),
  "not UTF-8": (tensors(b'{"\xff": 1}'), "not a whole"),
  "a list": (tensors([1]), "not a whole"),
  "no data": (tensors(one()), "not a whole"),
  "too much data": (tensors(one(), bytes(9)), "not a whole"),
  "another shape": (tensors(one(shape=[2]), bytes(4)), "not a whole"),
  "a negative shape": (tensors(one(shape=[-1]), bytes(4)), "not a whole"),
  "a huge shape": (tensors(one(shape=[2**62, 8]), bytes(4)), "not a whole"),
  "no type": (tensors(one(dtype="F99"), bytes(4)), "not a whole"),
  "backwards": (tensors(one(data_offsets=[4, 0]), bytes(4)), "not a whole"),
  "elsewhere": (tensors(one(data_offsets=[8, 12]), bytes(4)), "not a whole"),
  "words": (tensors(one(data_offsets=["0", "4"]), bytes(4)), "not a whole"),
  "a pipe": (lambda f: made.fifo(f / "w.safetensors"), "a pipe or device"),
}
INDEX = "w.safetensors.index.json"
INDEXES = {
  "text": ("no JSON", "damaged"),
  "a list": ("[]", "no JSON object"),
  "nothing": ("{}", "not an index of shards"),
  "a map of a list": ('{"weight_map": [1]}', "not an index of shards"),
  "a map of numbers": ('{"weight_map": {"a": 1}}', "not an index of shards"),
  "a path": ('{"weight_map": {"a": "../a"}}', "not an index of shards"),
  "an absolute path": ('{"weight_map": {"a": "/etc/passwd"}}', "not an index"),
  "a lost shard": ('{"weight_map": {"a": "b"}}', "this shard is missing"),
}

INSPECTED = [
  *((f"pickle: {n}", "w.pth", *told) for n, told in PICKLES.items()),
  *((f"tensors: {n}", "w.safetensors", *told) for n, told in TENSORS.items()),
  *(
    (f"index: {n}", INDEX, file(INDEX, content), said)
    for n, (content, said) in INDEXES.items()
  ),
]


@pytest.mark.parametrize("told", INSPECTED, ids=lambda told: told[0])
@pytest.mark.parametrize("command", ["inspect", "import"])
def test_weights_that_are_none(command, told, tmp_path):
  name, path, make, said = told
  arguments = [command, f"{{folder}}/{path}"]
  if command == "import":
    arguments += ["--config", TINY, "--out", "{folder}/out"]
  judge(Case(name, convert.main, arguments, said, make), tmp_path)


@pytest.mark.parametrize("name", NOT_IMPORTED)
def test_weights_of_something_else(name, tmp_path):
  make, said = NOT_IMPORTED[name]
  config = ["--config", TINY, "--out", "{folder}/out"]
  arguments = ["import", "{folder}/w.pth", *config]
  keys = r"  \S|\d+ (missing|unknown|misshapen):"
  judge(Case(name, convert.main, arguments, said, make, list=keys), tmp_path)


SCHEDULES = {
  "text": ("no JSON", "damaged"),
  "a list": ("[]", "no JSON object"),
  "nothing": ("{}", "not a scheduler's configuration"),
  "words": ('{"beta_start": "x", "beta_end": 1}', "not a scheduler's"),
  "a list for a number": ('{"beta_start": [], "beta_end": 1}', "not a sch"),
  "infinity": (
    '{"beta_start": 0.1, "beta_end": 0.2, "num_train_timesteps": Infinity}',
    "not a scheduler's configuration",
  ),
  "nan": ('{"beta_start": NaN, "beta_end": 0.2}', "beta_start: nan is not"),
  "beyond 1": ('{"beta_start": 0.1, "beta_end": 2}', "beta_end: 2.0 is not"),
  "no step": (
    '{"beta_start": 0.1, "beta_end": 0.2, "num_train_timesteps": 0}',
    "steps: 0 is not at least 1",
  ),
  "a kind of a list": (
    '{"beta_start": 0.1, "beta_end": 0.2, "prediction_type": []}',
    "prediction_type",
  ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_is_none(name, tmp_path):
  told, said = SCHEDULES[name]
  make = file("pipeline/scheduler/scheduler_config.json", told)
  arguments = ["import", "{folder}/pipeline", "--config", TINY, "--out"]
  arguments += ["{folder}/out"]
  judge(Case(name, convert.main, arguments, said, make), tmp_path)


def model(**metadata):
  """A model file of one array, with any metadata."""
  arrays = {"fusion/stem": np.zeros(1, np.float32)}
  return file("w.safetensors", save(arrays, metadata))


def config(**changes):
  told = json.loads(to_json(load_config(TINY))) | changes
  return json.dumps(told)


NO_MODEL = "not a model of DiffMVR-JAX"
NO_CONFIG = "its configuration cannot be used"
MODELS = {
  "no metadata": (model(), NO_MODEL),
  "no step": (model(config=config()), NO_MODEL),
  "a step of words": (model(config=config(), step="x"), NO_MODEL),
  "no JSON": (model(config="no JSON", step="1"), NO_MODEL),
  "a list": (model(config="[]", step="1"), NO_CONFIG),
  "a deep config": (model(config="[" * 10**5, step="1"), NO_MODEL),
  "an unknown key": (model(config=config(mood=1), step="1"), NO_CONFIG),
  "a wrong type": (model(config=config(seed="x"), step="1"), NO_CONFIG),
  "out of range": (model(config=config(seed=-1), step="1"), NO_CONFIG),
  "a path for a name": (model(config=config(name="../x"), step="1"), NO_CONFIG),
  "nan": (model(config=config(log_every=float("nan")), step="1"), NO_CONFIG),
  **{name: told for name, told in TENSORS.items() if name != "no head"},
}


def _clip(folder: Path) -> None:
  made.clip(folder / "clip.mkv")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_that_is_none(name, tmp_path):
  make, said = MODELS[name]
  run, out = "{folder}/w.safetensors", "{folder}/o.mkv"
  arguments = ["{folder}/clip.mkv", "--checkpoint", run, "--out", out]
  judge(
    Case(name, restore.main, arguments, said, making(_clip, make)), tmp_path
  )


RUNS = {
  "nothing": (lambda folder: None, "no trained or imported model"),
  "a file": (file("run", "x"), "no trained or imported model"),
  "an empty folder": (lambda f: (f / "run").mkdir(), "no trained or imported"),
  "an empty stage": (
    lambda f: (f / "run" / "model").mkdir(parents=True),
    "no finished checkpoint",
  ),
  "an empty step": (
    lambda f: (f / "run" / "model" / "3").mkdir(parents=True),
    "cannot be read|no finished checkpoint",
  ),
  "a step of text": (
    file("run/model/3/config/metadata", "no JSON"),
    "cannot be read|no finished checkpoint",
  ),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("command", ["restore", "export"])
def test_a_run_that_is_none(command, name, tmp_path):
  make, said = RUNS[name]
  run, out = "{folder}/run", "{folder}/o.mkv"
  main, arguments = {
    "restore": (
      restore.main,
      ["{folder}/clip.mkv", "--checkpoint", run, "--out", out],
    ),
    "export": (convert.main, ["export", run, "--out", out]),
  }[command]
  judge(Case(name, main, arguments, said, making(_clip, make)), tmp_path)


PRIORS = {
  "text": (file("p.safetensors", "text"), "cannot be read"),
  "empty": (file("p.safetensors"), "cannot be read"),
  "a pipe": (lambda f: made.fifo(f / "p.safetensors"), "a pipe or device"),
  "other arrays": (
    file("p.safetensors", save({"a": np.zeros(1)})),
    "not a prior of flow; no 'components'",
  ),
  "other shapes": (
    file(
      "p.safetensors",
      save({"components": np.zeros(1), "variances": np.zeros(1)}),
    ),
    "its shapes do not agree",
  ),
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_that_is_none(name, tmp_path):
  make, said = PRIORS[name]
  arguments = ["export", "procedural:0", "--out", "{folder}/data"]
  arguments += ["--flow-prior", "{folder}/p.safetensors"]
  judge(Case(name, data_prep, arguments, said, make), tmp_path)
