"""What is looked at, and when; by fakes that know where the faces are."""

from contextlib import closing

import numpy as np
import pytest

from data_prep.detections import NOTHING, overlap
from data_prep.detectors import thorough
from data_prep.detectors.landmarkers import FaceDetector, faces_of
from data_prep.detectors.thorough import ThoroughFaceDetector
from data_prep.detectors.windows import Window, turns_of
from data_prep.faces import crop
from data_prep.faces.landmarks import PAIRS, roll
from data_prep.faces.track import FaceFinder, track
from tests.data_prep.faces.test_geometry import frontal_face

WIDTH, HEIGHT = 1200, 800
# Each pixel says where it is, so that the fakes know what a window shows.
_ROW, _COLUMN = np.indices((HEIGHT, WIDTH))
FRAME = np.stack(
  [_COLUMN % 256, _ROW % 256, _COLUMN // 256 * 16 + _ROW // 256], axis=-1
).astype(np.uint8)


def place(image, x, y):
  red, green, blue = image[y, x].astype(int)
  return np.array([red + 256 * (blue // 16), green + 256 * (blue % 16)])


class World:
  """Where the faces are, and how often each part was asked for them.

  Attributes:
    faces: (21, 2) landmarks of each.
    asked: `whole`, `window`, `glance` or `tiles`, in order.
    turns: of the glances and the searches, in order.
  """

  def __init__(self):
    self.faces, self.asked, self.turns = [], [], []

  def landmarks(self, image, index=0):
    """Finds faces of an eighth of the picture, if they are about upright."""
    height, width = image.shape[:2]
    self.asked.append("whole" if image.shape == FRAME.shape else "window")
    x, y = width // 2, height // 2
    origin = place(image, x, y)
    across = place(image, x + 1, y) - origin
    down = place(image, x, y + 1) - origin
    to_picture = np.linalg.inv(np.column_stack([across, down])).T
    found = []
    for face in self.faces:
      points = (face - origin) @ to_picture + [x, y]
      inside = (points >= 0).all() and (points < [width, height]).all()
      large = np.ptp(points, axis=0).max() > max(width, height) / 8
      if inside and large and abs(roll(points)) < 1:
        found.append(points)
    return faces_of(np.stack(found)) if found else NOTHING

  def glance(self, image, turns, known):
    self.asked.append("glance")
    return self._windows(turns, known, smallest=WIDTH / 8)

  def tiles(self, image, turns, known):
    self.asked.append("tiles")
    return self._windows(turns, known, smallest=30)

  def _windows(self, turns, known, smallest):
    self.turns.append(turns)
    for face in self.faces:
      box = faces_of(face[None]).boxes[0]
      if (
        turns_of(roll(face)) == turns
        and np.ptp(face, axis=0).max() > smallest
        and not any(overlap(box, other) > 0.5 for other in known)
      ):
        yield Window.around(box, 2.0, turns)

  def counted(self):
    """What was asked since the last call."""
    asked, self.asked = self.asked, []
    return {what: asked.count(what) for what in asked}


@pytest.fixture
def world(monkeypatch):
  world = World()

  class Faces:
    __call__ = staticmethod(world.landmarks)

    def __init__(self, models=None):
      pass

  class Tiles:
    glance = staticmethod(world.glance)
    __call__ = staticmethod(world.tiles)

    def __init__(self, models=None):
      pass

    def upright(self, image, box, turns):
      return Window.around(box, 2.0, turns)

  monkeypatch.setattr(thorough, "FaceDetector", Faces)
  monkeypatch.setattr(thorough, "TileSearch", Tiles)
  return world


def small(centre=(500, 400), angle=0.0):
  return frontal_face(angle, centre, 20)


def large(centre=(600, 400), angle=0.0):
  return frontal_face(angle, centre, 120)


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
  assert world.counted() == {"whole": 1, "tiles": 1, "window": 20}


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
