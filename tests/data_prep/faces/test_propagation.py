import cv2
import numpy as np
import pytest

from data_prep.faces.carried import glimpse
from data_prep.faces.flow import FlowSearcher, enlarge, motion, spread
from data_prep.faces.propagated import SOURCES
from data_prep.faces.propagation import PropagationConfig, Propagator
from diffmvr_jax.media.pace import Pace

SIDE = 96


def texture(seed, side=192):
  """A smooth random picture, rich enough for flow."""
  noise = np.random.default_rng(seed).normal(size=(side, side, 3))
  picture = cv2.GaussianBlur(noise, (0, 0), 3) * 450 + 128
  return np.clip(picture, 0, 255).astype(np.uint8)


def seen_from(picture, t):
  """The picture's middle, turned, zoomed and shifted with time."""
  turn = cv2.getRotationMatrix2D((96, 96), 0.5 * t, 1 + 0.003 * t)
  turn[:, 2] += 0.8 * t - 48, -0.5 * t - 48
  return cv2.warpAffine(picture, turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC)


def covered_by(image, left, top=30, side=32):
  """A flat red square and its mask."""
  mask = np.zeros(image.shape[:2], np.uint8)
  mask[top : top + side, max(0, left) : max(0, left + side)] = 1
  return np.where(mask[..., None] > 0, np.uint8([200, 20, 20]), image), mask


def moving(frames=16, seed=0):
  """Truth, covered frames and masks of a square that comes and stays."""
  picture = texture(seed)
  for t in range(frames):
    truth = seen_from(picture, t)
    left = min(-40 + 12 * t, 40)
    yield truth, *covered_by(truth, left)


def error(result, truth, mask):
  difference = result.image.astype(float) - truth
  return float(np.sqrt(np.square(difference)[mask > 0].mean()))


def test_carries_what_was_seen_along_an_affine_motion():
  propagate = Propagator()
  errors, copied = [], []
  for t, (truth, image, mask) in enumerate(moving()):
    result = propagate(image, mask)
    if mask.any():
      assert result.valid.all()
      errors.append(error(result, truth, mask))
      first = seen_from(texture(0), 0).astype(float)
      copied.append(np.sqrt(np.square(first - truth)[mask > 0].mean()))
    assert t < 4 or mask.any()
  # Grey levels, of a picture whose own deviation is about 40.
  assert max(errors) < 12
  assert np.mean(errors) < 7
  assert np.mean(copied) > 30


def test_the_chain_alone_carries_too():
  propagate = Propagator(PropagationConfig(looks=0))
  errors = []
  for truth, image, mask in moving():
    result = propagate(image, mask)
    if mask.any():
      errors.append(error(result, truth, mask))
  assert np.mean(errors) < 9


def test_visible_pixels_are_the_frame_and_sure():
  propagate = Propagator(with_sources=True)
  for _, image, mask in moving():
    result = propagate(image, mask)
    visible = mask == 0
    np.testing.assert_array_equal(result.image[visible], image[visible])
    assert (result.confidence[visible] == 1).all()
    assert result.confidence.min() >= 0 and result.confidence.max() <= 1
    for source in result.sources:
      np.testing.assert_array_equal(source[visible], image[visible])


def test_without_a_mask_it_is_the_identity():
  propagate = Propagator()
  for t in range(3):
    image = seen_from(texture(1), t)
    result = propagate(image, np.zeros((SIDE, SIDE), np.uint8))
    np.testing.assert_array_equal(result.image, image)
    assert result.valid.all() and (result.confidence == 1).all()


def test_the_occluder_colour_does_not_leak():
  propagate = Propagator()
  for frame in moving():
    truth, image, mask = frame
    result = propagate(image, mask)
  inner = mask > 0
  redness = result.image[inner].astype(float) - truth[inner]
  assert abs(redness[:, 0].mean() - redness[:, 1].mean()) < 4


def test_what_nobody_has_seen_is_not_valid():
  propagate = Propagator(with_sources=True)
  for t in range(4):
    image, mask = covered_by(seen_from(texture(2), 0), 30)
    result = propagate(image, mask)
    assert not result.valid[mask > 0].any(), t
    assert not result.confidence[mask > 0].any()
    assert not result.source_valid[:, mask > 0].any()
    red = result.image[mask > 0].astype(int)
    assert (np.abs(red - [200, 20, 20]).sum(-1) > 40).all()


def test_it_becomes_valid_where_it_is_uncovered():
  propagate = Propagator()
  image, mask = covered_by(seen_from(texture(2), 0), 30)
  propagate(image, mask)
  image, mask = covered_by(seen_from(texture(2), 0), 46)
  propagate(image, mask)
  image, mask = covered_by(seen_from(texture(2), 0), 30)
  result = propagate(image, mask)
  assert result.valid[34:58, 33:43].all()
  assert not result.valid[34:58, 49:60].any()


def test_it_is_strictly_causal():
  frames = [(image, mask) for _, image, mask in moving()]
  one, other = Propagator(), Propagator()
  for t, (image, mask) in enumerate(frames):
    before = one(image, mask)
    later = frames[t] if t < 10 else covered_by(texture(9)[:SIDE, :SIDE], t)
    after = other(*later)
    if t < 10:
      np.testing.assert_array_equal(before.image, after.image)
      np.testing.assert_array_equal(before.confidence, after.confidence)


def test_inputs_are_not_written_to():
  propagate = Propagator()
  for _, image, mask in moving(8):
    kept = image.copy(), mask.copy()
    result = propagate(image, mask)
    result.image[:] = 0  # neither is what it remembers
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(mask, kept[1])
  assert propagate(image, mask).image[mask > 0].mean() > 60


def test_a_scene_cut_begins_anew():
  propagate = Propagator()
  for _, image, mask in moving(12):
    assert not propagate(image, mask).cut
  image, mask = covered_by(seen_from(texture(7), 0), 40)
  result = propagate(image, mask)
  assert result.cut
  assert not result.valid[mask > 0].any()


def fast_frame(t):
  """Truth, covered frame and mask; the picture moves by five pixels a frame."""
  shift = np.float32([[1, 0, 5 * t - 90], [0, 1, -48]])
  truth = cv2.warpAffine(texture(2), shift, (SIDE, SIDE))
  return truth, *covered_by(truth, 20 if t else -99, top=20, side=56)


def errors_of_fast_frames():
  propagate = Propagator(PropagationConfig(looks=0))
  errors = []
  for t in range(8):
    truth, image, mask = fast_frame(t)
    result = propagate(image, mask)
    if mask.any():
      errors.append(error(result, truth, mask))
  return np.array(errors)


def test_a_motion_goes_on_under_the_mask(monkeypatch):
  going_on = errors_of_fast_frames()
  monkeypatch.setattr("data_prep.faces.propagation._INERTIA", np.float32(0))
  stopping = errors_of_fast_frames()
  assert going_on[0] == stopping[0]  # no motion of the chain is known yet
  assert going_on[1:].mean() < 0.9 * stopping[1:].mean()


def test_a_motion_is_looked_for_anew_after_a_gap(monkeypatch):
  looked_for = []

  def noted(search, now, then):
    looked_for.append(now.number)
    return glimpse(search, now, then)

  monkeypatch.setattr("data_prep.faces.propagation.glimpse", noted)
  propagate = Propagator()
  for number in (0, 1, 2, 3, 9, 10):
    _, image, mask = fast_frame(min(number, 4))
    propagate(image, mask, number)
  _, image, mask = fast_frame(0)  # nothing covers it
  propagate(image, mask, 11)
  _, image, mask = fast_frame(1)
  propagate(image, mask, 12)
  assert looked_for == [1, 9, 12]
  # Another scene, and then another size: the second frame has one before it.
  other = covered_by(seen_from(texture(7), 0), 40)
  smaller = [x[:80, :80] for x in other]
  for number, (image, mask) in enumerate([other, other, smaller, smaller], 13):
    propagate(image, mask, number)
  assert looked_for == [1, 9, 12, 14, 16]


def test_a_flash_of_light_is_no_cut():
  propagate = Propagator()
  for t in range(6):
    image, mask = covered_by(seen_from(texture(3), t), 40 if t > 2 else -99)
    if t == 4:
      image = cv2.convertScaleAbs(image, alpha=0.9, beta=25)
    assert not propagate(image, mask).cut


def test_light_is_followed():
  propagate = Propagator()
  picture = texture(4)
  for t in range(10):
    truth = cv2.convertScaleAbs(seen_from(picture, t), alpha=1, beta=-3.0 * t)
    image, mask = covered_by(truth, 40 if t > 2 else -99)
    result = propagate(image, mask)
  assert abs(result.image[mask > 0].mean() - truth[mask > 0].mean()) < 4


def test_sources_have_a_fixed_order():
  propagate = Propagator(with_sources=True)
  for frame in moving():
    truth, image, mask = frame
    result = propagate(image, mask)
  assert result.sources.shape == (len(SOURCES), SIDE, SIDE, 3)
  assert result.source_valid.shape == (len(SOURCES), SIDE, SIDE)
  assert SOURCES[0] == "chained"
  for source, valid in zip(result.sources, result.source_valid, strict=True):
    if valid.all():
      apart = source.astype(float) - truth
      assert np.sqrt(np.square(apart)[mask > 0].mean()) < 20  # of about 40
  assert result.source_valid[0].all() and result.source_valid[1].all()


def test_looks_are_what_was_looked_back_at():
  plain, propagate = Propagator(), Propagator(with_looks=True)
  shown, known = [], []
  for t, (_, image, mask) in enumerate(moving()):
    result = propagate(image, mask, 10 + t)
    np.testing.assert_array_equal(result.image, plain(image, mask).image)
    names = [look.name for look in result.looks]
    assert names == [name for name in SOURCES if name in names]
    assert ("chained" in names) == bool(mask.any())
    for look in result.looks:
      assert look.number < 10 + t
      assert look.number == 9 + t or look.name != "chained"
      np.testing.assert_array_equal(look.picture, shown[look.number - 10])
      np.testing.assert_array_equal(look.known, known[look.number - 10])
    shown.append(result.image)
    known.append(result.valid)
  assert names[:2] == ["chained", "best"]


def test_it_looks_back_from_every_other_covered_frame():
  propagate = Propagator(pace=Pace(2), with_looks=True)
  plain = Propagator()
  names, apart = [], []
  for truth, image, mask in moving(24):
    result, often = propagate(image, mask), plain(image, mask)
    if mask.any():
      names.append([look.name for look in result.looks])
      apart.append(error(result, truth, mask) - error(often, truth, mask))
  assert all(len(looks) > 1 for looks in names[0::2])
  assert all(looks == ["chained"] for looks in names[1::2])
  assert np.mean(apart) < 1  # grey level


def test_the_first_covered_frame_is_always_looked_back_from():
  propagate = Propagator(pace=Pace(3), with_looks=True)
  truth = [seen_from(texture(0), t) for t in range(30)]
  free = np.zeros((SIDE, SIDE), np.uint8)
  for first in (4, 12, 21):
    for t in range(first - 4, first):
      propagate(truth[t], free)
    assert len(propagate(*covered_by(truth[first], 40)).looks) > 1
    assert len(propagate(*covered_by(truth[first + 1], 40)).looks) == 1


def test_the_pace_may_change_while_frames_come():
  pace = Pace(1)
  propagate = Propagator(pace=pace, with_looks=True)
  propagate(seen_from(texture(0), 0), np.zeros((SIDE, SIDE), np.uint8))
  looked = []
  for t in range(1, 13):
    pace.every = 1 if t < 4 else 3 if t < 10 else 2
    result = propagate(*covered_by(seen_from(texture(0), t), 40))
    looked.append(len(result.looks) > 1)
  assert looked == [t in (1, 2, 3, 4, 7, 10, 12) for t in range(1, 13)]


def test_the_flow_of_a_look_leads_to_its_picture():
  picture = np.kron(texture(1), np.ones((2, 2, 1), np.uint8))
  then, now = picture[:300, :200], picture[8:308, 6:206]
  propagate = Propagator(PropagationConfig(flow_side=150), with_looks=True)
  propagate(then, np.zeros((300, 200), np.uint8))
  mask = np.zeros((300, 200), np.uint8)
  mask[100:160, 80:140] = 1
  look = propagate(now, mask).looks[0]
  assert look.flow.shape == (150, 100, 2)
  inner = look.flow[20:-20, 20:-20]
  np.testing.assert_allclose(inner.mean((0, 1)), [6, 8], atol=0.5)
  assert look.flow_on_grid(64).shape == (64, 64, 2)


def test_memory_is_bounded():
  propagate = Propagator()
  for seed in range(40):
    # Views that drift apart without a cut.
    share = (seed % 20) / 20
    image = cv2.addWeighted(
      texture(seed // 20), 1 - share, texture(seed // 20 + 1), share, 0
    )[:SIDE, :SIDE]
    propagate(image, np.zeros((SIDE, SIDE), np.uint8))
    assert len(propagate._sightings) <= 32


@pytest.mark.parametrize("shape", [(40, 72), (270, 480), (33, 31)])
def test_any_size(shape):
  propagate = Propagator()
  picture = cv2.resize(texture(5), shape[::-1])
  mask = np.zeros(shape, np.uint8)
  propagate(picture, mask)
  mask[5:25, 8:20] = 1
  image = np.where(mask[..., None] > 0, np.uint8(0), picture)
  result = propagate(image, mask)
  assert result.image.shape == picture.shape
  assert result.valid.all()
  assert error(result, picture, mask) < 6


def test_a_new_size_begins_anew():
  propagate = Propagator()
  propagate(texture(0), np.zeros((192, 192), np.uint8))
  image, mask = covered_by(seen_from(texture(0), 0), 30)
  assert not propagate(image, mask).valid[mask > 0].any()


def test_all_covered_is_carried_from_before():
  propagate = Propagator()
  image = seen_from(texture(6), 0)
  propagate(image, np.zeros((SIDE, SIDE), np.uint8))
  all_of_it = np.ones((SIDE, SIDE), np.uint8)
  result = propagate(np.zeros_like(image), all_of_it)
  assert result.valid.all()
  assert error(result, image, all_of_it) < 8


def test_dilation_hides_halos():
  propagate = Propagator(PropagationConfig(dilation=3))
  truth = seen_from(texture(8), 0)
  propagate(truth, np.zeros((SIDE, SIDE), np.uint8))
  image, mask = covered_by(truth, 40)
  narrow = cv2.erode(mask, np.ones((5, 5), np.uint8))
  result = propagate(image, narrow)
  assert error(result, truth, mask) < 8


def test_motion_is_extended_under_the_cover():
  picture = texture(0)
  then, now = seen_from(picture, 0), seen_from(picture, 2)
  visible = 1 - covered_by(now, 40)[1].astype(np.float32)
  grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (now, then)]
  flow = motion(
    FlowSearcher(), (grey[0], visible), (grey[1], np.ones_like(visible)), 8
  )
  carried = cv2.getRotationMatrix2D((96, 96), 1.0, 1.006)
  carried[:, 2] += 1.6 - 48, -1.0 - 48
  back = np.linalg.inv(np.vstack([carried, [0, 0, 1]]))
  y, x = np.mgrid[:SIDE, :SIDE]
  where = np.stack([x, y, np.ones_like(x)], -1) @ back.T
  expected = where[..., :2] - 48 - np.stack([x, y], -1)
  inner = np.s_[8:-8, 8:-8]
  assert np.abs(flow - expected)[inner].mean() < 0.35


def test_spread_keeps_constants_and_enlarge_keeps_ramps():
  assert np.allclose(spread(np.ones((20, 30, 2), np.float32), 5), 1)
  ramp = np.tile(np.arange(10, dtype=np.float32), (10, 1))
  part = enlarge(ramp, (20, 20), (4, 4, 8, 8))
  np.testing.assert_allclose(
    part[0], (np.arange(4, 12) + 0.5) / 2 - 0.5, atol=0.02
  )
