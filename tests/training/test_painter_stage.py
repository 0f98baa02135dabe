"""The stage of the network that paints what nobody has seen."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.checkpoints.model import open_for_inference, open_model
from diffmvr_jax.config import (
  OccluderConfig,
  OccluderStageConfig,
  OptimizerConfig,
  PainterConfig,
  PainterStageConfig,
  check,
)
from diffmvr_jax.convert import main as convert
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.training.loop import train
from diffmvr_jax.training.painter_loss import holes
from tests.aligned import with_arrays, without_unet
from tests.models.test_diffmvr import observation

FAST = OptimizerConfig(learning_rate=1e-2, warmup_steps=0, ema_decay=0.8)


@pytest.fixture(scope="module")
def config(tiny_config):
  """Both networks are trained, one after the other, and there is no U-Net."""
  config = without_unet(tiny_config)
  small = {"channels": (16, 16), "blocks": (1, 1), "features": 8}
  model = dataclasses.replace(
    config.model,
    painter=PainterConfig(**small),
    occluder=OccluderConfig(**small),
  )
  return dataclasses.replace(
    config,
    model=model,
    painter_stage=PainterStageConfig(steps=30, batch_size=8, optimizer=FAST),
    occluder_stage=OccluderStageConfig(steps=1, batch_size=8, optimizer=FAST),
  )


@pytest.fixture(scope="module")
def workdir(config, tmp_path_factory):
  check(config)
  folder = tmp_path_factory.mktemp("painter") / "run"
  train(config, folder)
  return folder


def test_it_starts_as_carried_colours_and_learns_to_be_better(workdir):
  text = (workdir / "painter.jsonl").read_text()
  log = [json.loads(line) for line in text.splitlines()]
  assert log[0]["gain"] == pytest.approx(0, abs=1e-3)
  assert np.mean([line["gain"] for line in log[-8:]]) > 0.3


def test_the_last_stage_keeps_what_the_one_before_has_trained(workdir):
  params = open_for_inference(workdir).load()
  assert set(params) == {"painter", "occluder"}
  assert np.abs(params["painter"]["rough"]["kernel"]).max() > 0


def test_only_what_nobody_has_seen_is_painted(workdir):
  stored = open_for_inference(workdir)
  model, params = DiffMVR.of(stored.config), stored.load()
  seen = with_arrays(observation())
  mask = np.zeros_like(seen.mask)
  mask[..., 8:24, 8:24, :] = 1
  levels = np.where(mask, 0, 255).astype(np.uint8)
  levels[..., 8:24, 8:14, :] = 90  # was seen before
  seen = seen.replace(
    mask=jnp.asarray(mask), propagated_confidence=jnp.asarray(levels)
  )
  image = np.asarray(model.anchor_image(params, seen))
  bare = dataclasses.replace(stored.config.model, painter=None)
  plain = DiffMVR(config=bare, anchor=model.anchor, denoises=False)
  before = np.asarray(plain.anchor_image(params, seen))
  changed = np.abs(image - before).max((0, -1)) > 1e-6
  assert changed[8:24, 14:24].mean() > 0.9
  assert not changed[:8].any() and not changed[:, 24:].any()
  assert not changed[8:24, 8:10].any()  # far from the hole
  all_seen = seen.replace(propagated_confidence=jnp.full_like(levels, 255))
  np.testing.assert_array_equal(
    model.anchor_image(params, all_seen), plain.anchor_image(params, all_seen)
  )


def test_a_mirrored_face_gets_the_mirrored_painting(workdir):
  stored = open_for_inference(workdir)
  model, params = DiffMVR.of(stored.config), stored.load()
  rng = np.random.default_rng(0)
  image, symmetric = jnp.asarray(rng.uniform(-1, 1, (2, 2, 32, 32, 3)), "f4")
  hole = jnp.zeros((2, 32, 32, 1)).at[:, 8:24, 4:20].set(1)
  valid = jnp.array([1.0, 0.0])

  def mirrored(*images):
    return [x[:, :, ::-1] for x in images]

  faces = image, hole, symmetric
  alone = model.painted(params, *faces, valid)
  other = mirrored(model.painted(params, *mirrored(*faces), valid))[0]
  assert float(jnp.abs(alone - other).mean()) > 1e-3
  even = model.painted_evenly(params, *faces, valid)
  np.testing.assert_allclose(even, (alone + other) / 2, atol=1e-5)
  again = model.painted_evenly(params, *mirrored(*faces), valid)
  np.testing.assert_allclose(*mirrored(again), even, atol=1e-5)


def test_holes_vary_and_hide_what_would_give_them_away():
  batch = {
    "target": np.full((64, 1, 16, 16, 3), 128, np.uint8),
    "symmetric": np.full((64, 1, 16, 16, 3), 64, np.uint8),
    "mask": np.zeros((64, 1, 16, 16, 1), np.uint8),
    "symmetric_valid": np.ones((64, 1), bool),
  }
  batch["mask"][::2, :, 4:12, 4:12] = 1
  batch["mask"][1::2, :, :6] = 1
  keys = jax.random.split(jax.random.key(0), 64)
  arrays = {name: jnp.asarray(value) for name, value in batch.items()}
  truth, hole, symmetric, valid = holes(arrays, keys)
  own = np.asarray(batch["mask"][:, 0])
  exchanged = np.asarray(valid) == 0
  assert 0.1 < exchanged.mean() < 0.5
  # Another frame's hole leaves most of a frame's own one.
  overlap = np.asarray((hole * own).sum((1, 2, 3))) / own.sum((1, 2, 3))
  assert overlap[exchanged].max() < 0.6 < np.median(overlap[~exchanged])
  size = np.asarray(hole.sum((1, 2, 3))) / own.sum((1, 2, 3))
  assert size[~exchanged].min() < 0.5  # a side of it is known
  moved = np.asarray((hole > own).any((1, 2, 3)))
  assert moved[~exchanged].mean() > 0.5
  assert set(np.unique(hole).tolist()) == {0, 1}
  assert float(jnp.std(truth.mean((1, 2, 3)))) > 0.05
  ratio = (symmetric + 1) / (truth + 1)  # lit alike
  np.testing.assert_allclose(ratio, 64 / 128, atol=0.02)


def test_networks_are_joined_in_one_file(workdir, config, tmp_path, capsys):
  both, alone, out = (
    tmp_path / f"{name}.safetensors" for name in ("both", "alone", "out")
  )
  convert(["pretrained", str(workdir), "--out", str(both)])
  train(
    dataclasses.replace(
      config,
      painter_stage=dataclasses.replace(config.painter_stage, steps=0),
      model=dataclasses.replace(config.model, painter=None),
    ),
    tmp_path / "occluder",
  )
  convert(["pretrained", str(tmp_path / "occluder"), "--out", str(alone)])
  assert set(open_model(alone).shapes) == {"occluder"}
  command = ["pretrained", str(alone), "--out", str(out), "--with"]
  convert([*command, str(both)])
  assert "painter" in capsys.readouterr().out
  assert set(open_for_inference(out).shapes) == {"painter", "occluder"}
  with pytest.raises(InputError, match=r"no painter or occluder that is still"):
    convert([*command, str(alone)])


def test_settings_that_contradict_are_refused(config):
  bare = dataclasses.replace(config.model, painter=None)
  with pytest.raises(InputError, match=r"painter_stage.steps needs model.pain"):
    check(dataclasses.replace(config, model=bare))
  blocks = dataclasses.replace(config.model, painter=PainterConfig(blocks=(1,)))
  with pytest.raises(InputError, match=r"model.painter.blocks needs one entry"):
    check(dataclasses.replace(config, model=blocks))
