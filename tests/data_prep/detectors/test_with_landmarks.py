"""Another detector's boxes get landmarks, or one line says why not."""

import numpy as np
import pytest

from data_prep import recipe
from data_prep.detections import NOTHING, Detections
from data_prep.detectors import by_name, with_landmarks
from data_prep.detectors.landmarkers import faces_of
from data_prep.detectors.with_landmarks import (
  FacesWithLandmarks,
  why_no_landmarks,
)
from data_prep.faces.finder import FaceFinder
from data_prep.faces.landmarks import roll
from data_prep.faces.track import LOOKAHEAD, track
from data_prep.prepare import RealOcclusion, prepare
from tests.data_prep.clips import Scripted, clip_of, masked
from tests.data_prep.detectors.world import (
  FRAME,
  World,
  large,
  small,
  stand_in,
)


@pytest.fixture
def world(monkeypatch):
  world = World()
  stand_in(world, monkeypatch, with_landmarks)
  return world


def boxes_of(*faces):
  """What a detector of boxes says: they are a bit larger than the oval."""
  if not faces:
    return NOTHING
  boxes = faces_of(np.stack(faces)).boxes + np.array([-4, -6, 4, 2])
  return Detections(
    boxes=boxes.astype(np.float32), scores=np.linspace(1, 0.5, len(faces))
  )


def looking(*frames):
  """Adds landmarks to a detector that finds these faces in these frames."""
  boxes = [boxes_of(*faces) for faces in frames]
  return FacesWithLandmarks(Scripted(lambda image, index: boxes[index]))


@pytest.mark.parametrize("angle", [0.1, np.pi / 2, np.pi, -np.pi / 2])
def test_boxes_get_landmarks_however_the_head_lies(world, angle):
  face = small(angle=angle)
  world.faces = [face]
  found = looking([face])(FRAME, 0)
  np.testing.assert_allclose(found.landmarks[0], face, atol=1e-3)
  np.testing.assert_allclose(found.boxes, faces_of(face[None]).boxes, atol=1e-3)


def test_each_face_gets_its_own(world):
  faces = [small((300, 300)), small((345, 300)), small((700, 500), 0.5)]
  world.faces = faces[::-1]
  found = looking(faces)(FRAME, 0)
  np.testing.assert_allclose(found.landmarks, faces, atol=1e-3)


def test_landmarks_move_along_with_a_covered_face(world):
  path = [(300 + 3 * i, 300) for i in range(30)]
  detect = looking(*[[small(place)] for place in path])
  world.faces = [small(path[0])]
  detect(FRAME, 0)
  world.faces = []  # a hand covers it
  for index in range(1, 13):
    found = detect(FRAME, index)
    np.testing.assert_allclose(found.landmarks[0], small(path[index]), atol=0.1)
  assert np.isnan(detect(FRAME, 13).landmarks).all()
  world.faces = [small(path[14])]
  assert not np.isnan(detect(FRAME, 14).landmarks).any()


def test_landmarks_of_something_else_are_not_taken(world):
  world.faces = [small((340, 300))]
  found = looking([small((300, 300))])(FRAME, 0)
  assert np.isnan(found.landmarks).all()


def test_a_face_without_landmarks_is_a_box(world):
  detect = looking([small((300, 300))])
  face = FaceFinder(detect)(FRAME, 0)
  assert face.landmarks is None
  np.testing.assert_array_equal(face.box, boxes_of(small((300, 300))).boxes[0])


def test_everything_is_closed(world):
  detect = looking([])
  detect.close()
  assert world.closed == 2


def test_frames_with_landmarks_decide_where_the_crop_is(world):
  """Boxes among them would make it jump, and lose the axis of symmetry."""
  face = large()
  world.faces = [face]
  detect = looking(*[[face]] * 20)
  find = FaceFinder(detect)
  frames = []
  for index in range(20):
    world.faces = [face] if index > 5 else []
    frames.append((index, find(FRAME, index)))
  assert [f.landmarks is None for _, f in frames] == [i <= 5 for i in range(20)]
  crops = [tracked for _, tracked in track(frames, 96, LOOKAHEAD)]
  for tracked in crops:
    np.testing.assert_allclose(
      tracked.transform, crops[-1].transform, rtol=1e-4
    )
    assert abs(roll(tracked.landmarks)) < 1e-3


def test_symmetric_guidance_comes_with_the_landmarks(world):
  face = large()
  world.faces = [face]
  mask = np.zeros(FRAME.shape[:2], np.uint8)
  mask[350:450, 620:680] = 1
  for detect, valid in (
    (looking([face]), True),
    (Scripted(lambda image, index: boxes_of(face)), False),
  ):
    (record,) = prepare(
      clip_of([FRAME]),
      size=64,
      find_face=detect,
      occlusion=RealOcclusion(detector=masked([mask])),
      aligned="none",
    )
    assert record.symmetric_valid is valid


def test_one_line_says_that_no_face_had_landmarks(world, capsys, monkeypatch):
  class Recipe(recipe.Recipe):
    def face_detector(self):
      return looking(*[[small()]] * 3)

  monkeypatch.setattr(by_name, "why_no_landmarks", lambda models: None)
  boxes = Recipe(size=32, face="yolo:best.pt", aligned="none")
  clip, masks = clip_of([FRAME] * 3), [np.zeros(FRAME.shape[:2])] * 3
  assert len(list(boxes.frames_and_records(clip, masks))) == 3
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
    "clip: symmetric guidance is off: there are no landmarks in any of its 3 "
    "faces"
  )
  world.faces = [small()]
  list(boxes.frames_and_records(clip, masks))
  assert capsys.readouterr().err == ""


def test_a_missing_model_is_a_reason(tmp_path, monkeypatch):
  monkeypatch.setattr(by_name, "_open_yolo", lambda *_: Scripted(None))
  reason = by_name.missing_landmarks("yolo:best.pt", str(tmp_path))
  assert reason is not None and "face_landmarker.task" in reason
  assert why_no_landmarks(str(tmp_path)) == reason
  opened = by_name.open_face_detector("yolo:best.pt", str(tmp_path))
  assert isinstance(opened, Scripted)
  assert by_name.missing_landmarks("mediapipe", str(tmp_path)) is None
