"""Landmark error and identity."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from diffmvr_jax.errors import InputError
from diffmvr_jax.media import video
from diffmvr_jax.metrics.faces import (
  FaceComparison,
  FaceEmbedder,
  LandmarkFinder,
  landmark_errors,
)
from diffmvr_jax.metrics.pretrained import load_networks


@pytest.fixture
def landmarks():
  rng = np.random.default_rng(0)
  points = rng.uniform(10, 90, (21, 2))
  points[0], points[8] = (20, 50), (70, 50)  # outer eye corners
  return points


def test_errors_are_in_eye_distances(landmarks):
  mask = np.zeros((100, 100, 1), np.uint8)
  whole, inside = landmark_errors(landmarks + np.array([3, 4]), landmarks, mask)
  assert whole == pytest.approx(5 / 50)
  assert np.isnan(inside)


def test_only_covered_landmarks_count_in_the_mask(landmarks):
  mask = np.zeros((100, 100, 1), np.uint8)
  mask[45:55, 15:25] = 1
  moved = landmarks.copy()
  moved[0] += (0, 10)
  whole, inside = landmark_errors(moved, landmarks, mask)
  covered = (np.abs(landmarks - (19.5, 49.5)) <= 5).all(1).sum()
  assert inside == pytest.approx(10 / 50 / covered)
  assert whole == pytest.approx(10 / 50 / 21)


def test_landmarks_outside_the_frame_are_no_error(landmarks):
  mask = np.ones((100, 100, 1), np.uint8)
  landmarks[3] = (140, -20)
  assert landmark_errors(landmarks, landmarks, mask) == (0, 0)


@pytest.fixture(scope="module")
def face_network(tmp_path_factory):
  """An embedding with SFace's input and output: random projections."""
  weights = np.random.default_rng(0).normal(0, 1e-3, (3 * 112 * 112, 128))
  nodes = [
    helper.make_node("Flatten", ["data"], ["flat"]),
    helper.make_node("MatMul", ["flat", "weights"], ["fc1"]),
  ]
  graph = helper.make_graph(
    nodes,
    "embedding",
    [
      helper.make_tensor_value_info("data", TensorProto.FLOAT, (1, 3, 112, 112))
    ],
    [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, (1, 128))],
    [numpy_helper.from_array(weights.astype(np.float32), "weights")],
  )
  opset = helper.make_opsetid("", 13)
  path = tmp_path_factory.mktemp("face") / "face_recognition_sface_2021dec.onnx"
  model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
  onnx.save(model, path)
  return path


def test_a_face_is_its_own(face_network, landmarks):
  identity = FaceEmbedder(face_network)
  image = np.random.default_rng(1).integers(0, 255, (100, 100, 3), np.uint8)
  first, second = (identity(image, landmarks) for _ in range(2))
  assert np.dot(first, second) == pytest.approx(1)
  assert np.dot(first, identity(255 - image, landmarks)) < 0.99


def test_a_broken_network_is_named(tmp_path):
  path = tmp_path / "face.onnx"
  path.write_bytes(b"nothing")
  with pytest.raises(InputError, match=r"face\.onnx: not a network"):
    FaceEmbedder(path)


@pytest.fixture(scope="module")
def frames(assets):
  images = [
    frame.image for frame in video.read_frames(assets / "faces" / "face_01.mp4")
  ]
  return np.stack(images[:12:4])


def test_real_faces_are_measured(assets, frames, face_network):
  compare = FaceComparison(
    LandmarkFinder(assets / "models"), FaceEmbedder(face_network)
  )
  mask = np.zeros((*frames.shape[:3], 1), np.uint8)
  mask[:, 150:350, 150:350] = 1
  same = compare(frames, frames, mask)
  np.testing.assert_allclose(same["landmarks"], 0)
  np.testing.assert_allclose(same["landmarks_mask"], 0)
  np.testing.assert_allclose(same["identity"], 1, rtol=1e-5)
  moved = compare(np.roll(frames, 20, axis=2), frames, mask)
  eyes = LandmarkFinder(assets / "models")([frames[0]])[0]
  assert eyes is not None
  distance = np.linalg.norm(eyes[0] - eyes[8])
  np.testing.assert_allclose(moved["landmarks"], 20 / distance, rtol=0.15)
  assert (moved["identity"] < 0.999).all()


def test_a_frame_without_a_face_has_no_value(assets, frames):
  compare = FaceComparison(LandmarkFinder(assets / "models"), None)
  mask = np.ones((*frames.shape[:3], 1), np.uint8)
  values = compare(np.zeros_like(frames), frames, mask)
  assert values.keys() == {"landmarks", "landmarks_mask"}
  assert np.isnan(values["landmarks"]).all()


def test_mediapipe_is_silent_at_the_interpreters_exit(assets):
  code = (
    "import sys, numpy; from diffmvr_jax.metrics.faces import LandmarkFinder; "
    "find = LandmarkFinder(sys.argv[1]); "
    "find([numpy.zeros((64, 64, 3), 'uint8')])"
  )
  command = [sys.executable, "-c", code, str(assets / "models")]
  run = subprocess.run(command, capture_output=True, text=True, check=True)
  assert "Traceback" not in run.stderr


def test_networks_are_loaded_with_their_files(
  assets, face_network, tmp_path, monkeypatch
):
  monkeypatch.delenv("DIFFMVR_MODELS", raising=False)
  (tmp_path / face_network.name).symlink_to(face_network)
  model = "face_landmarker.task"
  (tmp_path / model).symlink_to(assets / "models" / model)
  loaded = load_networks(tmp_path, ("identity", "landmarks"))
  assert loaded.networks.faces is not None
  assert set(loaded.digests["identity"]) == {face_network.name, model}
  assert not loaded.missing
  alone = load_networks(tmp_path, ("identity",))
  assert alone.networks.faces is not None
