"""A frame whose faces detectors find without MediaPipe, in any window of it."""

import numpy as np

from data_prep.detections import NOTHING, overlap
from data_prep.detectors.landmarkers import faces_of
from data_prep.detectors.windows import Window, turns_of
from data_prep.faces.landmarks import roll
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
    self.faces, self.asked, self.turns, self.closed = [], [], [], 0

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


def small(centre=(500, 400), angle=0.0):
  return frontal_face(angle, centre, 20)


def large(centre=(600, 400), angle=0.0):
  return frontal_face(angle, centre, 120)


def stand_in(world, monkeypatch, module):
  """Puts detectors of this world in the place of MediaPipe's in a module."""

  class Faces:
    __call__ = staticmethod(world.landmarks)

    def __init__(self, models=None):
      pass

    def close(self):
      world.closed += 1

  class Tiles:
    glance = staticmethod(world.glance)
    __call__ = staticmethod(world.tiles)

    def __init__(self, models=None):
      pass

    def upright(self, image, box, turns):
      for face in world.faces:
        if overlap(faces_of(face[None]).boxes[0], box) > 0.3:
          turns = turns_of(roll(face))
      return Window.around(box, 2.0, turns)

    def close(self):
      world.closed += 1

  monkeypatch.setattr(module, "FaceDetector", Faces)
  monkeypatch.setattr(module, "TileSearch", Tiles)
