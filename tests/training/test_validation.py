"""Validation: averaged parameters, the same noise each time, the best kept."""

import dataclasses
import json
import os
import shutil
import signal
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from data_prep.__main__ import main as data_prep
from diffmvr_jax.checkpoints.model import open_for_inference
from diffmvr_jax.config import ValidationConfig, load_config
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.training.loop import Preempted, train
from diffmvr_jax.training.validation import (
  Validation,
  bucket_edges,
  bucket_losses,
)
from tests.conftest import TINY

VALIDATION = ValidationConfig(every=3, batches=2, buckets=4, restored=2)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data") / "records"
  settings = ["--size", "32", "--validation-share", "0.4"]
  data_prep(["export", "procedural:0-4", "--out", str(folder), *settings])
  plain = load_config(TINY, [f"data.path={folder}"])
  return dataclasses.replace(plain, validation=VALIDATION)


@pytest.fixture(scope="module")
def workdir(config, tmp_path_factory):
  folder = tmp_path_factory.mktemp("validated") / "run"
  train(config, folder)
  return folder


def lines(workdir):
  text = (workdir / "validation.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def events(folder):
  for path in folder.glob("events.*"):
    data = path.read_bytes()
    while data:
      (length,) = struct.unpack("<Q", data[:8])
      yield Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]


def test_it_measures_the_averages_in_every_range(config, workdir):
  assert [line["step"] for line in lines(workdir)] == [3, 6]
  stored = open_for_inference(workdir)
  params, step = stored.load(), stored.step
  assert step == 6
  windows = WindowSource(
    RecordSource(config.data.path, "validation"),
    window=3,
    stride=1,
    image_size=32,
  )
  chosen = np.linspace(0, len(windows) - 1, 4).astype(int)
  every = []
  for number, indices in enumerate(chosen.reshape(2, 2).tolist()):
    batch = windows.read(indices, [False, False])
    batch = {k: jnp.asarray(v) for k, v in batch.items() if k != "window_id"}
    key = jax.random.fold_in(jax.random.key(config.seed), number)
    every.append(bucket_losses(config, params, batch, key)[0])
  expected = np.mean(every, axis=0)
  line = lines(workdir)[-1]
  names = ["000-249", "250-499", "500-749", "750-999"]
  measured = [line[f"loss/{name}"] for name in names]
  np.testing.assert_allclose(measured, expected, rtol=1e-5)
  assert line["loss"] == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_ranges_cover_all_timesteps(config):
  assert bucket_edges(config).tolist() == [0, 250, 500, 750, 1000]


def test_the_best_is_kept_as_a_model(workdir):
  best = min(lines(workdir), key=lambda line: line["loss"])
  stored = open_for_inference(workdir / "best")
  params, step = stored.load(), stored.step
  assert step == best["step"]
  assert "unet" in params and "autoencoder" in params
  assert not list(workdir.glob("best.*"))


def test_tensorboard_has_curves_and_a_sheet(workdir):
  shown = {}
  for event in events(workdir / "tensorboard" / "validation"):
    for value in event.summary.value:
      shown.setdefault(value.tag, []).append(value)
  assert len(shown["loss"]) == 2
  sheet = shown["restored"][-1].image
  assert sheet.encoded_image_string.startswith(b"\x89PNG")
  assert (sheet.height, sheet.width) == (5 * 130, 104 + 2 * 130)
  trained = [
    value.tag
    for event in events(workdir / "tensorboard" / "diffusion")
    for value in event.summary.value
  ]
  assert trained.count("loss") == 6


def test_a_resumed_run_validates_alike(config, workdir, tmp_path):
  """Step 6 was lost; what came after step 3 is done and said again."""
  again = shutil.copytree(workdir, tmp_path / "run")
  shutil.rmtree(again / "diffusion" / "6")
  train(config, again)
  assert lines(again) == lines(workdir)


def test_sigterm_gives_a_validation_up_and_the_next_run_does_it(
  config, workdir, tmp_path, monkeypatch
):
  read = Validation._batch

  def read_when_stopped(self, number):
    os.kill(os.getpid(), signal.SIGTERM)
    return read(self, number)

  with monkeypatch.context() as patch:
    patch.setattr(Validation, "_batch", read_when_stopped)
    with pytest.raises(Preempted, match="saved step 3"):
      train(config, tmp_path / "run")
  assert lines(tmp_path / "run") == []
  train(config, tmp_path / "run")
  assert lines(tmp_path / "run") == lines(workdir)


def test_validation_needs_its_split(tiny_config, tmp_path):
  config = dataclasses.replace(tiny_config, validation=VALIDATION)
  with pytest.raises(InputError, match="no validation records here"):
    train(config, tmp_path)
