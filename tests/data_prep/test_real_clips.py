"""On real faces and hands; skipped where `DIFFMVR_TEST_ASSETS` has none."""

from contextlib import closing
from itertools import islice

import numpy as np
import pytest

from data_prep.detectors.landmarkers import FaceDetector, HandDetector
from data_prep.faces.landmarks import COUNT, PAIRS, asymmetry
from data_prep.prepare import RealOcclusion, prepare
from data_prep.sources import file_clip
from diffmvr_jax.errors import InputError
from diffmvr_jax.media import video


@pytest.fixture(scope="module")
def crossing(assets):
  return assets / "clips" / "hand_over_face.mp4"


def test_face_landmarks_are_where_a_face_is(assets):
  for path in sorted((assets / "faces").glob("*.mp4"))[:4]:
    image = next(islice(video.read_frames(path), 5, None)).image
    with closing(FaceDetector(assets / "models")) as find_face:
      found = find_face(image, 0)
    (points,) = found.landmarks
    assert points.shape == (COUNT, 2)
    # The subject's right eye is on the image's left; eyes above the mouth.
    assert points[0, 0] < points[PAIRS, 0]
    assert points[0, 1] < points[3, 1]
    assert asymmetry(points) < 0.8
    left, top, right, bottom = found.boxes[0]
    assert (points[:, 0] >= left - 3).all() and (
      points[:, 0] <= right + 3
    ).all()
    assert top < bottom
  with closing(FaceDetector(assets / "models")) as find_face:
    assert len(find_face(np.zeros((64, 64, 3), np.uint8), 0)) == 0


def test_hands_are_found_where_they_cross_the_face(assets, crossing):
  with closing(HandDetector(assets / "models")) as find_hand:
    for i, frame in enumerate(video.read_frames(crossing)):
      if i == 0:
        assert len(find_hand(frame.image, i)) == 0
      if i in (19, 20, 21, 30, 31):
        found = find_hand(frame.image, i)
        assert 0.03 < found.masks.max(0).mean() < 0.4
        assert ((found.scores > 0) & (found.scores <= 1)).all()


def test_the_crossing_hand_gives_masks_and_past_frames(assets, crossing):
  with (
    closing(FaceDetector(assets / "models")) as find_face,
    closing(HandDetector(assets / "models")) as find_hand,
  ):
    records = list(
      prepare(
        file_clip(crossing),
        size=128,
        find_face=find_face,
        occlusion=RealOcclusion(detector=find_hand),
      )
    )
  occluded = [r.frame_index for r in records if r.mask.any()]
  assert {19, 20, 21, 30, 31} <= set(occluded)
  assert not {0, 5, 10, 50, 55} & set(occluded)
  for record in records:
    if record.mask.any():
      assert 0 <= record.past_index < record.frame_index
      assert record.past_index not in occluded


def test_a_wrong_model_file_is_refused(tmp_path):
  (tmp_path / "hand_landmarker.task").write_bytes(b"something else")
  with pytest.raises(InputError, match="checksum"):
    HandDetector(tmp_path)
