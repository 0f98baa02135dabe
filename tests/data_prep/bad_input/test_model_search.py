"""Where models are looked for."""

import os
from itertools import count

import pytest

from data_prep.detectors import mediapipe_files as models
from diffmvr_jax.errors import InputError


def test_models_are_looked_for_in_order(tmp_path, monkeypatch):
  named, environment, cache = (tmp_path / n for n in ("named", "env", "home"))
  content = count()
  known = {}
  for folder in (named, environment, cache / ".cache" / "diffmvr"):
    folder.mkdir(parents=True)
    path = folder / "face_landmarker.task"
    path.write_text(str(next(content)))
    known[path] = models.sha256(path)
  monkeypatch.setattr(models, "_KNOWN", {"face_landmarker": {*known.values()}})
  monkeypatch.setenv("DIFFMVR_MODELS", str(environment))
  assert models.model_path("face_landmarker", named).parent == named
  assert models.model_path("face_landmarker").parent == environment
  monkeypatch.delenv("DIFFMVR_MODELS")
  found = models.model_path("face_landmarker")
  assert found.parent == cache / ".cache" / "diffmvr"


def test_a_folder_in_the_environment_without_the_model(tmp_path, monkeypatch):
  monkeypatch.setenv("DIFFMVR_MODELS", str(tmp_path))
  with pytest.raises(InputError, match=r"no such file; put .* DIFFMVR_MODELS"):
    models.model_path("face_landmarker")


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
  digest = models.sha256(tmp_path / path)
  monkeypatch.setattr(models, "_KNOWN", {"face_landmarker": {digest}})
  assert models.model_path("face_landmarker").read_bytes() == b"model"
  assert os.listdir(cache) == ["face_landmarker.task"]
