"""The stage of the network that tells what covers a face."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.checkpoints.model import open_model, save_model
from diffmvr_jax.config import (
  OccluderConfig,
  OccluderStageConfig,
  OptimizerConfig,
  check,
)
from diffmvr_jax.convert import main as convert
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.occluder import OccluderNetwork, steadied
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import StreamOptions
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.training.loop import train
from tests.aligned import without_unet

STEPS = 200


@pytest.fixture(scope="module")
def config(tiny_config):
  config = without_unet(tiny_config)
  network = OccluderConfig(channels=(16, 16), blocks=(1, 1), features=8)
  config = dataclasses.replace(
    config,
    model=dataclasses.replace(config.model, occluder=network),
    occluder_stage=OccluderStageConfig(
      steps=STEPS,
      batch_size=8,
      optimizer=OptimizerConfig(
        learning_rate=1e-2, warmup_steps=0, ema_decay=0.8
      ),
    ),
  )
  check(config)
  return config


@pytest.fixture(scope="module")
def workdir(config, tmp_path_factory):
  folder = tmp_path_factory.mktemp("occluder") / "run"
  train(config, folder)
  return folder


def test_it_learns_what_covers_a_face(workdir):
  text = (workdir / "occluder.jsonl").read_text()
  log = [json.loads(line) for line in text.splitlines()]
  # Some batches hold hardly anything that is covered.
  early, late = log[:20], log[-20:]

  def mean(lines, name):
    return np.mean([line[name] for line in lines])

  assert mean(late, "loss") < 0.85 * log[0]["loss"]
  assert mean(late, "iou") > 1.5 * mean(early, "iou")


def test_masks_of_a_clip_fit_and_free_frames_stay_free(workdir, config):
  """As in a restoration: crops in order, the last free one beside each."""
  find = OccluderNetwork.from_checkpoint(workdir).start()
  records = RecordSource(config.data.path, "train")
  windows = WindowSource(
    records, window=1, stride=1, image_size=32, occluded_only=False
  )
  overlaps, false = [], []
  for i in range(24):
    frame = {name: value[0] for name, value in windows[i].items() if value.ndim}
    free = frame["past"] if frame["past_valid"] else None
    found = find(frame["frame"], free) > 0.5
    mask = frame["mask"][..., 0] > 0
    assert found.shape == mask.shape
    if mask.mean() > 0.05:
      overlaps.append((found & mask).sum() / (found | mask).sum())
    elif not mask.any():
      false.append(found.mean())
  assert np.mean(overlaps) > 0.4
  assert np.mean(false) < 0.05


def test_it_is_read_from_a_file_and_takes_crops_of_any_size(workdir, tmp_path):
  out = tmp_path / "occluder.safetensors"
  convert(["pretrained", str(workdir), "--out", str(out)])
  assert set(open_model(out).shapes) == {"occluder"}
  network = OccluderNetwork.from_checkpoint(out)
  crop = np.full((48, 48, 3), 128, np.uint8)
  assert network.probability(crop, None).shape == (48, 48)


def test_a_model_without_one_is_refused(tiny_config, tmp_path):
  params = DiffMVR.of(tiny_config).shapes(32)["guidance"]
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
  save_model(tmp_path, tiny_config, {"guidance": zeros})
  with pytest.raises(InputError, match="a model without an occluder network"):
    OccluderNetwork.from_checkpoint(tmp_path)


def test_half_sure_pixels_hold_on_to_sure_ones_and_to_the_last_mask():
  probability = np.zeros((64, 64), np.float32)
  probability[10:30, 10:20] = 0.9
  probability[10:30, 20:30] = 0.5
  probability[45:60, 45:60] = 0.55  # alone, and never quite sure
  first = steadied(probability, None)
  assert first[10:30, 10:30].all()
  assert not first[40:].any()
  last = np.zeros((64, 64), np.uint8)
  last[45:60, 45:60] = 1
  assert steadied(probability, last)[45:60, 45:60].all()
  assert not steadied(0.3 * probability, last).any()


def test_off_the_face_only_what_is_certain_counts():
  """Surroundings change by themselves."""
  probability = np.zeros((64, 64), np.float32)
  probability[28:36, 28:36] = 0.7  # on the face
  probability[:16, :10] = 0.7
  probability[48:, :10] = 1.0
  mask = steadied(probability, None)
  assert mask[28:36, 28:36].all() and mask[48:, :10].all()
  assert not mask[:16, :10].any()


@pytest.mark.parametrize(
  ("asked", "network", "detector"),
  [
    (None, True, "mediapipe"),
    ("learned", True, None),
    ("learned,yolo:hands.pt", True, "yolo:hands.pt"),
    ("mediapipe", False, "mediapipe"),
  ],
)
def test_the_network_and_a_detector_may_find_occluders(
  workdir, asked, network, detector
):
  restorer = Restorer.from_checkpoint(workdir, occluder=asked)
  recipe = restorer.settings(StreamOptions())["recipe"]
  assert recipe["helped"] == network
  assert recipe["occluder"] == detector


def test_a_free_crop_that_is_out_of_date_does_not_freeze_the_mask(
  workdir, monkeypatch
):
  """Everything differs from it, but the crop alone looks free."""
  network = OccluderNetwork.from_checkpoint(workdir)

  def probability(crop, free):
    return np.full(crop.shape[:2], 0.0 if free is None else 0.9, np.float32)

  monkeypatch.setattr(network, "probability", probability)
  find = network.start()
  crop = np.zeros((16, 16, 3), np.uint8)
  covered = [find(crop, crop).any() for _ in range(80)]
  assert all(covered[:50])
  assert not any(covered[51:])


def test_a_crop_that_stays_covered_is_judged_alone_now_and_then(
  workdir, monkeypatch
):
  network = OccluderNetwork.from_checkpoint(workdir)
  found, alone = [], []

  def probability(crop, free):
    if free is None:
      alone.append(len(found))
    return np.full(crop.shape[:2], 0.9, np.float32)

  monkeypatch.setattr(network, "probability", probability)
  find = network.start()
  crop = np.zeros((16, 16, 3), np.uint8)
  for _ in range(85):
    found.append(find(crop, crop).any())
  assert all(found) and alone == [50, 60, 70, 80]


def test_a_free_crop_that_shows_the_tip_of_what_came_is_doubted(
  workdir, monkeypatch
):
  """Once the occluder is gone, only its tip differs, for a few frames."""
  network = OccluderNetwork.from_checkpoint(workdir)

  def probability(crop, free):
    if free is None:
      return np.zeros(crop.shape[:2], np.float32)
    return np.where((crop != free).any(-1), np.float32(0.9), 0)

  monkeypatch.setattr(network, "probability", probability)
  find = network.start()
  face = np.zeros((32, 32, 3), np.uint8)
  tip, hand = face.copy(), face.copy()
  tip[12:16, 8:16] = hand[8:24, 8:24] = 200
  for _ in range(9):
    assert not find(face, face.copy()).any()
  masks = [find(hand, tip) for _ in range(14)]
  # While the hand is there, an older free crop shows that it is.
  assert all(mask[10, 10] for mask in masks)
  gone = [find(face, tip).any() for _ in range(12)]
  assert gone[:3] == [True] * 3 and not any(gone[4:])
  # A new free crop is trusted again.
  assert not find(face, face).any() and find(hand, face).any()


@pytest.mark.parametrize(
  ("changes", "complaint"),
  [
    ({"occluder": None}, "occluder_stage.steps needs model.occluder"),
    (
      {"occluder": OccluderConfig(blocks=(1,))},
      "model.occluder.blocks needs one entry per entry of channels",
    ),
    (
      {"occluder": OccluderConfig(channels=(), blocks=())},
      "model.occluder.channels needs at least one entry",
    ),
  ],
)
def test_settings_that_contradict_are_refused(config, changes, complaint):
  model = dataclasses.replace(config.model, **changes)
  with pytest.raises(InputError, match=complaint):
    check(dataclasses.replace(config, model=model))
