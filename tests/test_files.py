"""Model files are looked for by one rule, whatever they are for."""

import os
from itertools import count

import pytest

from data_prep.detectors import mediapipe_files as models
from data_prep.detectors.yolo import weights_path
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import MissingModelFileError, find_model_file, sha256
from diffmvr_jax.weights.tiny_decoder import find_tiny_decoder


@pytest.fixture(autouse=True)
def empty_home(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.delenv("DIFFMVR_MODELS", raising=False)


def test_models_are_looked_for_in_order(tmp_path, monkeypatch):
  named, environment, cache = (tmp_path / n for n in ("named", "env", "home"))
  content = count()
  known = {}
  for folder in (named, environment, cache / ".cache" / "diffmvr"):
    folder.mkdir(parents=True)
    path = folder / "face_landmarker.task"
    path.write_text(str(next(content)))
    known[path] = sha256(path)
  monkeypatch.setattr(models, "_KNOWN", {"face_landmarker": {*known.values()}})
  monkeypatch.setenv("DIFFMVR_MODELS", str(environment))
  assert models.model_path("face_landmarker", named).parent == named
  assert models.model_path("face_landmarker").parent == environment
  monkeypatch.delenv("DIFFMVR_MODELS")
  found = models.model_path("face_landmarker")
  assert found.parent == cache / ".cache" / "diffmvr"


def test_a_named_folder_must_have_the_model(tmp_path, monkeypatch):
  """Nothing else is searched, and nothing is fetched."""
  named, elsewhere = tmp_path / "named", tmp_path / "elsewhere"
  elsewhere.mkdir()
  (elsewhere / "weights.bin").write_bytes(b"")
  monkeypatch.setenv("DIFFMVR_MODELS", str(elsewhere))
  for names, digests in ((("weights.bin",), ()), (("other.bin",), ("0" * 64,))):
    with pytest.raises(MissingModelFileError) as error:
      find_model_file(
        *names,
        folder=named,
        option="--models",
        source="http://127.0.0.1:9/w",
        digests=digests,
      )
    said = f"{named / names[0]}: no such file; put http://127.0.0.1:9/w into "
    assert str(error.value) == f"{said}{named}"


def test_the_cache_is_searched_after_the_environment(tmp_path, monkeypatch):
  cache = tmp_path / "home" / ".cache" / "diffmvr"
  cache.mkdir(parents=True)
  monkeypatch.setenv("DIFFMVR_MODELS", str(tmp_path))
  with pytest.raises(MissingModelFileError, match="DIFFMVR_MODELS") as error:
    find_model_file("a.pth", option="--weights", source="it")
  assert str(error.value).startswith(f"{tmp_path / 'a.pth'}: no such file")
  (cache / "b.pth").write_bytes(b"")
  found = find_model_file("a.pth", "b.pth", option="--weights", source="it")
  assert found == cache / "b.pth"
  (tmp_path / "b.pth").write_bytes(b"")
  found = find_model_file("a.pth", "b.pth", option="--weights", source="it")
  assert found == tmp_path / "b.pth"


def test_a_named_file_must_exist(tmp_path, monkeypatch):
  """A bare name is looked for in the model folders, a path is not."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("DIFFMVR_MODELS", str(tmp_path / "models"))
  (tmp_path / "models").mkdir()
  (tmp_path / "models" / "best.pt").write_bytes(b"")
  assert weights_path("best.pt") == tmp_path / "models" / "best.pt"
  with pytest.raises(InputError, match=r"^runs/best\.pt: no such file"):
    weights_path("runs/best.pt")
  with pytest.raises(InputError, match=r"^decoder\.pth: no such file"):
    find_tiny_decoder("./decoder.pth")


def test_offline_the_error_says_where_to_put_the_file(tmp_path, monkeypatch):
  monkeypatch.setattr(models, "_STORAGE", "http://127.0.0.1:9")
  with pytest.raises(InputError) as error:
    models.model_path("hand_landmarker")
  said = str(error.value)
  where = tmp_path / "home" / ".cache" / "diffmvr" / "hand_landmarker.task"
  assert str(where) in said and "--models" in said
  assert "127.0.0.1:9/hand_landmarker" in said


def test_a_download_is_checked(tmp_path, monkeypatch):
  (tmp_path / "face_landmarker" / "face_landmarker" / "float16" / "1").mkdir(
    parents=True
  )
  path = "face_landmarker/face_landmarker/float16/1/face_landmarker.task"
  (tmp_path / path).write_bytes(b"model")
  monkeypatch.setattr(models, "_STORAGE", tmp_path.as_uri())
  with pytest.raises(InputError, match="checksum"):
    models.model_path("face_landmarker")
  cache = tmp_path / "home" / ".cache" / "diffmvr"
  assert not cache.exists() or not os.listdir(cache)
  digest = sha256(tmp_path / path)
  monkeypatch.setattr(models, "_KNOWN", {"face_landmarker": {digest}})
  assert models.model_path("face_landmarker").read_bytes() == b"model"
  assert os.listdir(cache) == ["face_landmarker.task"]
