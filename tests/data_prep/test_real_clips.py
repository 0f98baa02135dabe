"""On real faces and hands; skipped where `DIFFMVR_TEST_ASSETS` has none."""

from contextlib import closing
from itertools import islice

import numpy as np
import pytest

from data_prep import detectors, face
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference import video


@pytest.fixture(scope="module")
def frames(assets):
  clip = assets / "clips" / "hand_over_face.mp4"
  return [frame.image for frame in video.read_frames(clip)]


def test_face_landmarks_are_where_a_face_is(assets):
  with closing(detectors.FaceDetector(assets / "models")) as find_face:
    for path in sorted((assets / "faces").glob("*.mp4"))[:4]:
      image = next(islice(video.read_frames(path), 5, None)).image
      points = find_face(image)
      assert points is not None and points.shape == (face.COUNT, 2)
      # The subject's right eye is on the image's left; eyes above the mouth.
      assert points[0, 0] < points[face.PAIRS, 0]
      assert points[0, 1] < points[3, 1]
      assert face.asymmetry(points) < 0.8
    assert find_face(np.zeros((64, 64, 3), np.uint8)) is None


def test_hands_are_found_where_they_cross_the_face(assets, frames):
  with closing(detectors.HandDetector(assets / "models")) as find_hand:
    assert find_hand(frames[0]) is None
    for i in (19, 20, 21, 30, 31):
      mask = find_hand(frames[i])
      assert mask is not None
      assert 0.03 < mask.mean() < 0.4


def test_a_wrong_model_file_is_refused(tmp_path):
  (tmp_path / "hand_landmarker.task").write_bytes(b"something else")
  with pytest.raises(InputError, match="checksum"):
    detectors.HandDetector(tmp_path)
