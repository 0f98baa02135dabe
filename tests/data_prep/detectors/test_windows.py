import numpy as np
import pytest

from data_prep.detectors.tiles import tile_windows
from data_prep.detectors.windows import Window, turns_of
from data_prep.faces.landmarks import roll
from tests.data_prep.faces.test_geometry import frontal_face


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("corner", [(20, 30), (-7, -9), (60, 45), (-30, 90)])
def test_points_lie_where_their_pixels_were(turns, corner):
  image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
  window = Window(left=corner[0], top=corner[1], side=33, turns=turns)
  cut = window.cut(image)
  assert cut.shape == (33, 33, 3)
  for y, x in np.ndindex(33, 33):
    where = window.to_frame(np.array([x, y]))
    column, row = where.clip(0, [99, 79])
    np.testing.assert_array_equal(cut[y, x], image[row, column])


@pytest.mark.parametrize("turns", range(4))
def test_boxes_are_mapped_by_their_edges(turns):
  image = np.zeros((80, 100, 3), np.uint8)
  image[30:40, 25:50] = 255
  window = Window(left=15, top=20, side=44, turns=turns)
  rows, columns = np.nonzero(window.cut(image)[..., 0])
  box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
  mapped = window.box_to_frame(np.array(box, float))
  assert mapped.tolist() == [25, 30, 50, 40]


@pytest.mark.parametrize("turns", range(4))
def test_a_window_that_is_turned_by_the_roll_shows_an_upright_head(turns):
  angle = turns * np.pi / 2 + 0.2
  points = frontal_face(angle, (200, 150), 40)
  assert turns_of(roll(points)) == turns
  box = np.concatenate([points.min(0), points.max(0)])
  window = Window.around(box, 2.0, turns)
  origin, across, down = window.to_frame(np.array([[0, 0], [1, 0], [0, 1]]))
  linear = np.column_stack([across - origin, down - origin])
  seen = (points - origin) @ np.linalg.inv(linear).T
  assert roll(seen) == pytest.approx(0.2, abs=1e-3)
  assert (seen > 0).all() and (seen < window.side).all()


@pytest.mark.parametrize(
  ("height", "width"),
  [(1080, 1920), (1920, 1080), (720, 1280), (1080, 720), (2160, 3840)],
)
def test_every_small_face_lies_in_a_tile_that_shows_it_large_enough(
  height, width
):
  rng = np.random.default_rng(0)
  coarse, fine = tile_windows(height, width)
  smallest = 40 / 1080 * min(height, width)
  for _ in range(300):
    size = smallest * rng.uniform(1, 4)
    x, y = rng.uniform(size / 2, np.array([width, height]) - size / 2)
    shown = [
      tile
      for tile in coarse + fine
      # At least three quarters of it on each side of its middle.
      if tile.left + 0.25 * size <= x <= tile.left + tile.side - 0.25 * size
      and tile.top + 0.25 * size <= y <= tile.top + tile.side - 0.25 * size
    ]
    assert max(size / tile.side for tile in shown) > 0.12


def test_tiles_stay_within_the_frame_and_small_frames_have_none():
  for tiles in tile_windows(360, 640):
    for tile in tiles:
      assert 0 <= tile.left <= 640 - tile.side
      assert 0 <= tile.top <= 360 - tile.side
  assert tile_windows(96, 128) == []
