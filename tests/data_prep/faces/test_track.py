import numpy as np
import pytest

from data_prep.detections import overlap
from data_prep.faces import crop
from data_prep.faces.landmarks import extent, roll
from data_prep.faces.track import LOOKAHEAD, Face, track
from tests.data_prep.faces.test_geometry import frontal_face


def faces(centres, angle=0.0, size=50.0):
  return [
    None
    if centre is None
    else Face(
      box=np.array([*np.subtract(centre, size), *np.add(centre, size)]),
      landmarks=frontal_face(angle, centre, size),
    )
    for centre in centres
  ]


def tracked(found, **options):
  return [
    t for _, t in track(((i, f) for i, f in enumerate(found)), 96, **options)
  ]


def test_crops_level_and_centre_the_face():
  (first, *_) = tracked(faces([(300, 200)] * 3, angle=0.4))
  assert abs(roll(first.landmarks)) < 1e-3
  centre, side = extent(first.landmarks)
  np.testing.assert_allclose(centre, 47.5, atol=0.05)
  assert side == pytest.approx(96 / crop.MARGIN, rel=1e-3)


def test_crops_are_invertible_to_within_half_a_pixel():
  (first, *_) = tracked(faces([(310, 190)] * 2, angle=-0.2, size=60))
  points = np.random.default_rng(0).uniform(0, 600, (50, 2))
  inside = crop.apply(first.transform, points)
  back = crop.apply(crop.invert(first.transform), inside)
  assert np.abs(back - points).max() < 0.01


def test_jitter_is_smoothed_and_motion_followed():
  rng = np.random.default_rng(0)
  path = np.linspace([200, 200], [320, 200], 60)
  noisy = path + rng.normal(0, 3, path.shape)
  found = tracked(faces([tuple(p) for p in noisy]))
  middle = np.array([47.5, 47.5])
  centres = np.array(
    [crop.apply(crop.invert(t.transform), middle[None])[0] for t in found]
  )
  # The face's extent has an offset of its own against `centre`.
  offset = (centres - path).mean(0)
  wobble = np.diff(centres - path - offset, axis=0)[8:-8].std()
  assert wobble < 0.3 * np.diff(noisy - path, axis=0).std()
  assert np.abs(centres - path - offset).max() < 5


def test_short_gaps_are_bridged_and_long_ones_are_left():
  centres = [(200.0, 200.0)] * 3 + [None] * 10 + [(240.0, 200.0)] * 3
  found = tracked(faces(centres))
  assert all(t is not None for t in found)
  xs = [crop.apply(crop.invert(t.transform), t.landmarks)[18, 0] for t in found]
  assert (np.diff(xs) > -1e-6).all() and xs[-1] - xs[0] > 39
  long = [(200.0, 200.0)] * 3 + [None] * 40 + [(240.0, 200.0)] * 3
  lost = [t is None for t in tracked(faces(long))]
  assert lost == [2 + LOOKAHEAD < i < 43 - LOOKAHEAD for i in range(46)]


def test_without_lookahead_nothing_depends_on_the_future():
  rng = np.random.default_rng(1)
  centres = [tuple(c) for c in rng.normal(200, 5, (30, 2))]
  whole = tracked(faces(centres), lookahead=0)
  half = tracked(faces(centres[:15]), lookahead=0)
  for a, b in zip(whole, half, strict=False):
    np.testing.assert_array_equal(a.transform, b.transform)


def test_memory_is_bounded():
  pulled = []

  def stream():
    for i, found in enumerate(faces([(200.0, 200.0)] * 100)):
      pulled.append(i)
      yield i, found

  for i, _ in track(stream(), 96):
    assert len(pulled) <= i + LOOKAHEAD + 1


def test_boxes_alone_give_crops_without_landmarks():
  box = Face(box=np.array([100.0, 60, 180, 160]), landmarks=None)
  (found,) = tracked([box])
  assert found.landmarks.shape == (0, 2)
  low, high = found.outline.min(0), found.outline.max(0)
  np.testing.assert_allclose((low + high) / 2, 47.5, atol=0.01)
  assert high[1] - low[1] == pytest.approx(96 / crop.MARGIN, rel=1e-4)


def test_overlap_of_boxes():
  box = np.array([0.0, 0, 2, 2])
  assert overlap(box, box) == 1
  assert overlap(box, box + 5) == 0
