"""Training from encoded frames: the same losses without the encoders."""

import json
import shutil

import numpy as np
import pytest

from diffmvr_jax.config import load_config
from diffmvr_jax.data.latent_cache import EncodedWindows
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.encode import main as encode
from diffmvr_jax.errors import InputError
from diffmvr_jax.training.inputs import expected_shapes, shapes_of
from diffmvr_jax.training.loop import train
from tests.conftest import TINY

FROZEN = ("model.train_clip=False", "data.flip=False")
DIFFUSION_ONLY = (*FROZEN, "autoencoder_stage.steps=0")


@pytest.fixture(scope="module")
def settings(tiny_data, tiny_checkpoint):
  start = [f"init_from={tiny_checkpoint}", f"data.path={tiny_data}"]
  return [*DIFFUSION_ONLY, *start]


@pytest.fixture(scope="module")
def encoded(settings, tmp_path_factory):
  out = tmp_path_factory.mktemp("encoded") / "out"
  encode(["--config", str(TINY), "--out", str(out), "--batch", "7", *settings])
  return out


def losses(workdir):
  lines = (workdir / "diffusion.jsonl").read_text().splitlines()
  return [json.loads(line)["loss"] for line in lines]


def test_the_losses_are_those_of_the_images(settings, encoded, tmp_path):
  plain = load_config(TINY, settings)
  cached = load_config(TINY, [*settings, f"data.encoded={encoded}"])
  train(plain, tmp_path / "plain")
  train(cached, tmp_path / "cached")
  np.testing.assert_allclose(
    losses(tmp_path / "cached"), losses(tmp_path / "plain"), rtol=2e-3
  )


def test_every_past_frame_is_encoded_once(encoded, tiny_data):
  records = RecordSource(tiny_data, "train")
  distinct = {
    (records.index.video_id[i], past)
    for i, past in enumerate(records.index.past_index)
    if past >= 0
  }
  assert len(np.load(encoded / "past.clip.npy")) == len(distinct)
  windows = WindowSource(records, window=3, stride=1, image_size=32)
  batch = EncodedWindows(windows, records, encoded).read([5, 0], [False] * 2)
  assert batch["mean"].shape[:2] == (2, 3)
  assert batch["window_id"].tolist() == [
    int(windows[i]["window_id"]) for i in (5, 0)
  ]
  for i, valid in zip((5, 0), batch["past_valid"], strict=True):
    np.testing.assert_array_equal(valid, windows[i]["past_valid"])


def test_a_batch_has_the_shapes_that_the_config_asks_for(
  encoded, tiny_config, tiny_data
):
  records = RecordSource(tiny_data, "train")
  windows = WindowSource(records, window=3, stride=1, image_size=32)
  shapes = shapes_of(EncodedWindows(windows, records, encoded), 5)
  assert shapes == expected_shapes(tiny_config, 5, encoded=True)


def test_other_encoders_are_refused(settings, encoded, tmp_path):
  """The same config, but random weights in place of the checkpoint's."""
  others = [s for s in settings if not s.startswith("init_from")]
  scale = "model.autoencoder.scaling_factor=1.0"
  config = load_config(TINY, [*others, scale, f"data.encoded={encoded}"])
  with pytest.raises(InputError, match="made by other encoders"):
    train(config, tmp_path)


def test_other_records_and_half_an_encoding_are_refused(
  settings, encoded, tiny_data, tmp_path
):
  folder = shutil.copytree(encoded, tmp_path / "encoded")
  config = load_config(TINY, [*settings, f"data.encoded={folder}"])
  described = json.loads((folder / "encoded.json").read_text())
  described["records"]["frames"] += 1
  (folder / "encoded.json").write_text(json.dumps(described))
  with pytest.raises(InputError, match="made from other records"):
    train(config, tmp_path / "run")
  (folder / "encoded.json").unlink()
  with pytest.raises(InputError, match="not a finished encoding"):
    train(config, tmp_path / "run")


def test_flips_and_trained_encoders_contradict_it(settings, encoded):
  given = [*settings, f"data.encoded={encoded}"]
  with pytest.raises(InputError, match=r"data\.flip=False"):
    load_config(TINY, [*given, "data.flip=True"])
  with pytest.raises(InputError, match="frozen encoders"):
    load_config(TINY, [*given, "model.train_clip=True"])


def test_encoding_needs_weights():
  with pytest.raises(InputError, match="init_from=START is needed"):
    encode(["--config", str(TINY), "--out", "nowhere"])
