"""The model that comes with the package is what restores by default."""

import json

import av
import numpy as np
import pytest

from data_prep import recipe
from diffmvr_jax import pretrained
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluate import main as evaluate
from diffmvr_jax.restore import main as restore
from tests.aligned import anchor_alone, write_stand_in
from tests.data_prep.clips import CentredRecipe, drawn
from tests.inference.test_propagation import write


@pytest.fixture
def shipped(tiny_config, tmp_path, monkeypatch):
  """A stand-in for the model; its name is the default's."""
  folder = tmp_path / "pretrained"
  folder.mkdir()
  prior = pretrained.flow_prior_file()
  (folder / prior.name).write_bytes(prior.read_bytes())
  write_stand_in(folder / "faces128.safetensors", anchor_alone(tiny_config))
  monkeypatch.setattr(pretrained, "FOLDER", folder)
  monkeypatch.setattr(
    recipe, "Recipe", lambda **kw: CentredRecipe(**kw | {"face": "centred"})
  )
  return folder


@pytest.fixture
def video(tmp_path):
  images = np.stack(drawn(3)[0][:6])
  masks = np.zeros(images.shape[:3], np.uint8)
  masks[2:4, 70:110, 60:95] = 255
  write(tmp_path / "in.mkv", images)
  write(tmp_path / "masks.mkv", np.repeat(masks[..., None], 3, -1))
  return [str(tmp_path / "in.mkv"), f"--occluder=masks:{tmp_path}/masks.mkv"]


def comment(path):
  with av.open(str(path)) as container:
    (text,) = (
      v for k, v in container.metadata.items() if k.lower() == "comment"
    )
  return json.loads(text)


def test_restore_uses_it_and_says_so(shipped, video, tmp_path, capsys):
  one, two = tmp_path / "one.mkv", tmp_path / "two.mkv"
  restore([*video, "--out", str(one), "--lossless"])
  said = capsys.readouterr().out.splitlines()
  assert said[0].startswith("restoring with pretrained:faces128")
  assert said[1].endswith("2 of 6 frames restored, 0 without a face")
  assert "SHA-256" in comment(one)["checkpoint"]
  named = ["--checkpoint", "pretrained:faces128"]
  restore([*video, *named, "--out", str(two), "--lossless"])
  assert len(capsys.readouterr().out.splitlines()) == 1
  assert one.read_bytes() == two.read_bytes()


def test_an_installation_without_it_says_so(shipped, video, tmp_path):
  (shipped / "faces128.safetensors").unlink()
  with pytest.raises(InputError, match="pretrained:faces128: no such model"):
    restore([*video, "--out", str(tmp_path / "out.mkv")])
  assert not (tmp_path / "out.mkv").exists()


def test_evaluate_takes_it(shipped, tiny_data, tmp_path):
  command = ["--data", str(tiny_data), "--metrics", "psnr"]
  named = ["--checkpoint", "pretrained:faces128", "--out", str(tmp_path / "r")]
  evaluate([*command, *named])
  summary = json.loads((tmp_path / "r" / "metrics.json").read_text())
  assert summary["conditions"]["DiffMVR"].startswith("tiny, step 0, SHA-256")
  ours, nothing = (
    summary["methods"][name]["psnr_mask"]["value"]
    for name in ("DiffMVR", "do nothing")
  )
  assert ours > nothing + 3
