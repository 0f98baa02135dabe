"""The demos run from end to end, and fail if the model loses."""

import json
import shutil

import pytest

pytest.importorskip("skimage.data")

from data_prep.portraits import load, mesh_file
from diffmvr_jax import pretrained
from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluation.records import MODEL
from diffmvr_jax.evaluation.summary import losses
from launch import compared, demo, demo_train
from tests.aligned import anchor_alone, write_stand_in
from tests.conftest import TINY


def values(**psnr):
  """Results of methods; their SSIM is all alike."""
  return {
    name: {"psnr_mask": {"value": value}, "ssim_mask": {"value": 0.5}}
    for name, value in psnr.items()
  }


def test_a_model_loses_to_what_is_better_only():
  methods = values(DiffMVR=30.0, past=29.0, propagation=30.0)
  assert losses(MODEL, methods, compared.METRICS) == []
  methods = values(DiffMVR=30.0, past=29.0, propagation=30.001)
  (sentence,) = losses(MODEL, methods, compared.METRICS)
  assert sentence.startswith("PSNR in mask: propagation is better")


def test_a_losing_demo_ends_with_code_1(tmp_path, capsys):
  (tmp_path / "report.html").write_text("made before")
  for name, psnr, code in (("past", 29.0, 0), ("median", 31.0, 1)):
    summary = {"methods": values(DiffMVR=30.0, **{name: psnr})}
    (tmp_path / "metrics.json").write_text(json.dumps(summary))
    if code:
      with pytest.raises(SystemExit) as ended:
        compared.compare(tmp_path, tmp_path, tmp_path, start=0)
      assert ended.value.code == 1
      assert "median is better" in capsys.readouterr().err
    else:
      compared.compare(tmp_path, tmp_path, tmp_path, start=0)


def test_the_photograph_needs_no_detector(tmp_path, monkeypatch):
  monkeypatch.setattr("data_prep.portraits.clip.face_mesh", None)
  path = tmp_path / "astronaut.png"
  demo.write_photograph(path)
  assert load(path).image.shape == (512, 512, 3)
  mesh_file(path).write_bytes(b"no array")
  with pytest.raises(InputError, match=r"astronaut\.mesh\.npy: cannot be read"):
    load(path)


def test_the_demo_restores_a_real_face_and_drawn_ones(
  tiny_config, tmp_path, monkeypatch, capsys
):
  folder = tmp_path / "pretrained"
  folder.mkdir()
  shutil.copy(pretrained.flow_prior_file(), folder)
  write_stand_in(folder / "faces128.safetensors", anchor_alone(tiny_config))
  monkeypatch.setattr(pretrained, "FOLDER", folder)
  monkeypatch.setattr(demo, "SIZE", tiny_config.data.image_size)
  monkeypatch.setattr(demo, "PEOPLE", range(200, 201))
  monkeypatch.setattr(demo, "CLIPS", 1)
  monkeypatch.setattr("data_prep.recipe.FaceDetector", None)
  monkeypatch.setattr(compared, "METRICS", ())  # so small, it may well lose
  demo.main(["--out", str(tmp_path / "out")])
  summary = json.loads((tmp_path / "out" / "metrics.json").read_text())
  assert set(summary["videos"][MODEL]) == {"astronaut", "procedural_00200"}
  assert "done in" in capsys.readouterr().err
  assert (tmp_path / "out" / "sheet.png").is_file()


def test_training_from_nothing_is_compared(tmp_path, monkeypatch, capsys):
  """A few updates without an anchor are worse than what needs none."""
  monkeypatch.setattr(demo_train, "CONFIG", TINY)
  monkeypatch.setattr(demo_train, "PEOPLE", "procedural:0-4")
  settings = ["autoencoder_stage.steps=0", "diffusion_stage.steps=2"]
  settings += ["model.autoencoder.scaling_factor=1.0"]
  with pytest.raises(SystemExit) as ended:
    demo_train.main(["--out", str(tmp_path), *settings])
  assert ended.value.code == 1
  said = capsys.readouterr().err
  assert "propagation is better than DiffMVR" in said
  assert open_model(tmp_path / "train").step == 2
