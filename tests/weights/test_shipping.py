"""A model in one file: written, found, read, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from diffmvr_jax import Restorer, pretrained
from diffmvr_jax.checkpoints.model import (
  open_for_inference,
  open_model,
  save_model,
)
from diffmvr_jax.convert import main as convert
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.models.diffmvr import DiffMVR
from tests.aligned import anchored, tiny_fusion, with_arrays
from tests.models.test_diffmvr import initial, observation

ALONE = {"steps": 0}


@pytest.fixture(scope="module")
def config(tiny_config):
  config = anchored(tiny_config, "fused", init_from="somewhere/else")
  fusion = tiny_fusion(flow_components=4)
  return dataclasses.replace(
    config, model=dataclasses.replace(config.model, fusion=fusion)
  )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
  """A model with every network, all of them random."""
  folder = tmp_path_factory.mktemp("whole") / "run"
  params = initial(DiffMVR.of(config))
  params["residual_scale"] = jnp.float32(0.5)
  params["flow_prior"] = {
    "components": 0.1 * jnp.ones((4, 32, 32, 2)),
    "variances": jnp.full(4, 3e-9),  # less than 16 bits can say
  }
  save_model(folder, config, params, step=7)
  return folder


@pytest.fixture(scope="module")
def anchor(whole, tmp_path_factory):
  """The file of its anchor alone."""
  out = tmp_path_factory.mktemp("anchor") / "faces8.safetensors"
  command = ["pretrained", str(whole), "--out", str(out)]
  convert([*command, "--set", "sampling.steps=0"])
  return out


@pytest.fixture
def window():
  seen = with_arrays(observation())
  return {name: np.asarray(value)[0] for name, value in vars(seen).items()}


def test_a_file_holds_what_its_settings_need(whole, anchor, capsys):
  model, before = open_model(anchor), open_model(whole)
  assert set(model.shapes) == {"fusion", "flow_prior"}
  assert (model.step, len(model.digest)) == (7, 64)
  assert model.made_from["checkpoint_sha256"] == before.digest
  loaded = flatten_dict(model.load(), sep="/")
  expected = flatten_dict(before.load(["fusion", "flow_prior"]), sep="/")
  assert loaded.keys() == expected.keys()
  for name, value in loaded.items():
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-7)
  variances = loaded["flow_prior/variances"]
  np.testing.assert_array_equal(variances, expected["flow_prior/variances"])
  out = anchor.with_name("whole.safetensors")
  convert(["pretrained", str(whole), "--out", str(out)])
  assert "sampling.steps=3" in capsys.readouterr().out
  assert open_model(out).shapes.keys() == before.shapes.keys()
  streamed = list(model.stream(["flow_prior/variances"]))
  np.testing.assert_array_equal(streamed[0], variances)


def test_a_file_says_nothing_of_where_it_was_made(anchor, config):
  saved = open_model(anchor).config
  assert (saved.init_from, saved.data.path) == (None, "data")
  assert config.data.path.encode() not in anchor.read_bytes()
  assert saved.diffusion_stage.steps == saved.autoencoder_stage.steps == 0


def test_the_anchor_restores_alone_and_refuses_to_sample(
  anchor, whole, window, monkeypatch
):
  monkeypatch.setattr(pretrained, "FOLDER", anchor.parent)
  alone = CropRestorer.from_checkpoint("pretrained:faces8")
  full = CropRestorer.from_checkpoint(whole, ["sampling.steps=0"])
  ours, theirs = (r.fill(window, np.arange(2), 0) for r in (alone, full))
  assert np.abs(ours.astype(int) - theirs).max() <= 2
  assert (ours != window["frame"]).any()
  with pytest.raises(InputError, match=r"without autoencoder.*unet; restore"):
    CropRestorer.from_checkpoint("pretrained:faces8", ["sampling.steps=2"])
  with pytest.raises(InputError, match=r"nothing is decoded"):
    CropRestorer.from_checkpoint("pretrained:faces8", decoder="tiny")


def test_a_pretrained_model_is_found_by_its_name(anchor, monkeypatch):
  monkeypatch.setattr(pretrained, "FOLDER", anchor.parent)
  restorer = Restorer.from_pretrained("faces8", which_face=1)
  assert restorer._filler.crop_size == 2 * 32
  plain = Restorer.from_pretrained("faces8", ["sampling.detail=1"])
  assert plain._filler.crop_size == 32
  assert restorer._recipe.which_face == 1
  for unknown in ("faces9", "faces_flow_prior"):
    with pytest.raises(InputError, match=f"pretrained:{unknown}: no such mod"):
      Restorer.from_pretrained(unknown)


@pytest.mark.parametrize(
  ("arguments", "complaint"),
  [
    (["--out", "a.bin"], r"a\.bin: the file's name must end with .safetensors"),
    (["--out", "none/a.safetensors"], "none: no such folder"),
    (["--out", "a.safetensors", "--set", "seed=1"], "seed=1: only sampling"),
  ],
)
def test_bad_requests_are_refused(
  whole, arguments, complaint, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match=complaint):
    convert(["pretrained", str(whole), *arguments])


def test_bad_files_are_refused_by_name(anchor, tmp_path):
  path = tmp_path / "b.safetensors"
  with pytest.raises(InputError, match=r"b\.safetensors: no such file"):
    open_model(path)
  path.write_bytes(anchor.read_bytes()[:-100])
  with pytest.raises(InputError, match=r"b\.safetensors: not a whole"):
    open_model(path)
  arrays = load_file(anchor)
  save_file(arrays, path)
  with pytest.raises(InputError, match=r"b\.safetensors: not a model of Diff"):
    open_model(path)
  metadata = {"config": pretrained_config(anchor), "step": "1"}
  arrays["flow_prior/variances"] = np.ones(5, np.float32)
  save_file(arrays, path, metadata)
  with pytest.raises(InputError, match=r"variances is \(5,\) there.*\(4,\)"):
    open_model(path)


def pretrained_config(path):
  from safetensors import safe_open

  with safe_open(path, framework="numpy") as file:
    return file.metadata()["config"]


def test_a_whole_model_keeps_only_what_restoring_its_anchor_needs(whole):
  model = open_for_inference(whole, ["sampling.steps=0"])
  assert set(model.load()) == {"fusion", "flow_prior"}
  assert jax.tree.leaves(model.shapes)
