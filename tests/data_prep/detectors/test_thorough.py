"""What is looked at, and when; by fakes that know where the faces are."""

from contextlib import closing

import numpy as np
import pytest

from data_prep.detectors import thorough
from data_prep.detectors.landmarkers import FaceDetector
from data_prep.detectors.thorough import ThoroughFaceDetector
from data_prep.detectors.windows import turns_of
from data_prep.faces import crop
from data_prep.faces.finder import FaceFinder
from data_prep.faces.landmarks import PAIRS, roll
from data_prep.faces.track import track
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
  stand_in(world, monkeypatch, thorough)
  return world


def test_a_large_face_needs_no_search(world):
  detect = ThoroughFaceDetector()
  world.faces = [large()]
  for index in range(5):
    np.testing.assert_allclose(
      detect(FRAME, index).landmarks[0], world.faces[0], atol=1e-3
    )
  assert world.counted() == {"whole": 1, "window": 4}


def test_a_small_face_is_searched_once_and_then_followed(world):
  detect = ThoroughFaceDetector()
  for index in range(20):
    world.faces = [small((300 + 5 * index, 400))]
    np.testing.assert_allclose(
      detect(FRAME, index).landmarks[0], world.faces[0], atol=1e-3
    )
  assert world.counted() == {"whole": 2, "tiles": 1, "window": 20}


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_head_that_lies_is_found_within_some_frames(world, turns):
  for face, latest in ((large, 4), (small, 13)):
    detect = ThoroughFaceDetector()
    world.faces = [face(angle=turns * np.pi / 2 + 0.1)]
    found = [len(detect(FRAME, index)) for index in range(30)]
    first = found.index(1)
    assert first < latest and all(found[first:])


def test_a_head_that_turns_is_followed_all_the_way_round(world):
  detect = ThoroughFaceDetector()
  for index, angle in enumerate(np.linspace(0, 2 * np.pi, 60)):
    world.faces = [small(angle=angle)]
    (found,) = detect(FRAME, index).landmarks
    np.testing.assert_allclose(found, world.faces[0], atol=1e-3)
  assert world.counted()["tiles"] == 1


def test_without_a_face_searches_become_rare(world):
  detect = ThoroughFaceDetector()
  searched = []
  for index in range(100):
    assert len(detect(FRAME, index)) == 0
    if "tiles" in world.counted():
      searched.append(index)
  assert searched == [0, 4, 8, 12, 16, 28, 40, 52, 64, 76, 88]
  tiles = [turns for i, turns in enumerate(world.turns) if i in searched]
  assert tiles == [0, 1, 3, 2, 0, 1, 0, 3, 0, 2, 0]


def test_a_lost_face_is_awaited_before_it_is_searched(world):
  detect = ThoroughFaceDetector()
  world.faces = [small()]
  detect(FRAME, 0)
  world.faces = []
  world.counted()
  for index in range(1, 4):
    detect(FRAME, index)
  assert world.counted() == {"window": 3, "whole": 3, "glance": 3}
  world.faces = [small((520, 410))]
  assert len(detect(FRAME, 4)) == 1
  assert world.counted() == {"window": 1}
  world.faces = [small((100, 100))]  # far away
  assert [len(detect(FRAME, i)) for i in range(5, 10)] == [0, 0, 0, 1, 1]


def test_someone_who_joins_is_noticed(world):
  detect = ThoroughFaceDetector()
  found = []
  for index in range(20):
    world.faces = [small()] if index < 3 else [small(), large((900, 300))]
    found.append(len(detect(FRAME, index)))
  assert found == [1] * 13 + [2] * 7
  assert world.counted()["tiles"] == 1


def test_faces_beside_each_other_are_found_once(world):
  detect = ThoroughFaceDetector(wanted=3)
  world.faces = [small((500 + 60 * i, 400)) for i in range(3)]
  for index in range(4):
    found = detect(FRAME, index)
    assert len(found) == 3
  assert world.counted()["tiles"] == 1


def test_more_faces_are_wanted_than_there_are(world):
  detect = ThoroughFaceDetector(wanted=2)
  world.faces = [large()]
  assert [len(detect(FRAME, i)) for i in range(10)] == [1] * 10
  world.faces = [large(), small((200, 200))]
  found = [len(detect(FRAME, i)) for i in range(10, 18)]
  assert found == [1] * 6 + [2] * 2
  world.counted()
  assert len(detect(FRAME, 18)) == 2
  assert world.counted() == {"window": 2}


def test_stills_are_searched_at_every_turn_and_do_not_depend_on_each_other(
  world,
):
  detect = ThoroughFaceDetector(still=True)
  for turns in range(4):
    world.faces = [small(angle=turns * np.pi / 2)]
    assert len(detect(FRAME, 0)) == 1
    world.faces = []
    assert len(detect(FRAME, 0)) == 0


@pytest.fixture(scope="module")
def portrait(assets):
  """A real face of about 100 px, upright, on a grey frame of 1920×1080."""
  import cv2

  path = sorted((assets / "portraits").glob("*.jpg"))[0]
  image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
  small = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
  frame = np.full((1080, 1920, 3), 110, np.uint8)
  frame[300:556, 1200:1456] = small
  return frame


def test_a_real_face_is_found_however_it_lies(assets, portrait):
  with closing(FaceDetector(assets / "models")) as whole:
    assert len(whole(portrait)) == 0
  upright = None
  for turns in range(4):
    turned = np.ascontiguousarray(np.rot90(portrait, -turns))
    with closing(ThoroughFaceDetector(assets / "models")) as detect:
      find = FaceFinder(detect)
      frames = [(i, find(turned, i)) for i in range(14)]
    face = frames[-1][1]
    assert turns_of(roll(face.landmarks)) == turns
    *_, (_, tracked) = track(frames, 128)
    shown = crop.warp(turned, tracked.transform, 128)
    points = tracked.landmarks
    assert abs(roll(points)) < 0.05
    assert points[0, 0] < points[PAIRS, 0] and points[0, 1] < points[3, 1]
    if upright is None:
      upright = shown
    difference = np.abs(shown.astype(int) - upright).mean()
    assert difference < 10  # a lying head differs by 40 and more


def test_a_real_frame_without_a_face_gives_none(assets, portrait):
  frame = np.full_like(portrait, 110)
  frame[100:900:40] = 60
  with closing(ThoroughFaceDetector(assets / "models")) as detect:
    assert not any(len(detect(frame, i)) for i in range(5))
