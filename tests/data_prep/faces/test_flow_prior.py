import cv2
import numpy as np
import pytest

from data_prep.faces.carried import carry
from data_prep.faces.flow import FlowSearcher, motion
from data_prep.faces.flow_prior import FlowPrior, open_flow_prior
from data_prep.faces.propagation import Propagator
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.recipe import Recipe
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.errors import InputError

GRID = 16


def affine_flow(rng, height, width):
  """Pixels; up to a twentieth of the side."""
  y, x = np.mgrid[:height, :width] + 0.5
  place = np.stack([x / width, y / height, np.ones_like(x)], -1)
  linear = rng.normal(0, 0.02, (3, 2))
  return (place @ linear * max(height, width)).astype(np.float32)


@pytest.fixture(scope="module")
def prior():
  rng = np.random.default_rng(0)
  flows = [affine_flow(rng, GRID, GRID) / GRID for _ in range(200)]
  return FlowPrior.fit(np.stack(flows), components=6)


def half_seen(side):
  weights = np.ones((side, side), np.float32)
  weights[:, side // 2 :] = 0
  return weights


@pytest.mark.parametrize("side", [64, 128, 200])
def test_completes_an_affine_flow_from_its_half(prior, side):
  rng = np.random.default_rng(1)
  completed_errors, copied_errors = [], []
  for _ in range(10):
    flow, weights = affine_flow(rng, side, side), half_seen(side)
    completed = prior.complete(flow * weights[..., None], weights)
    copied = flow[:, side // 2 - 1 : side // 2]
    hidden = weights == 0
    completed_errors.append(np.abs(completed - flow)[hidden].mean())
    copied_errors.append(np.abs(copied - flow)[hidden].mean())
    assert np.abs(completed - flow).max() < 0.015 * side
  assert np.mean(completed_errors) < 0.003 * side
  assert np.mean(completed_errors) < 0.4 * np.mean(copied_errors)


def test_outliers_have_little_pull(prior):
  rng = np.random.default_rng(2)
  flow, weights = affine_flow(rng, 128, 128), half_seen(128)
  wrong = flow * weights[..., None]
  wrong[20:40, 10:30] += 12
  hidden = weights == 0
  apart = np.abs(prior.complete(wrong, weights) - flow)[hidden]
  assert apart.mean() < 0.5


def test_a_still_stays_still(prior):
  flow = np.zeros((96, 96, 2), np.float32)
  assert np.abs(prior.complete(flow, half_seen(96))).max() == 0
  noise = np.random.default_rng(3).normal(0, 0.05, flow.shape)
  noisy = cv2.GaussianBlur(noise, (0, 0), 2).astype(np.float32)
  assert np.abs(prior.complete(noisy, half_seen(96))).max() < 0.06


def test_nothing_known_is_no_motion(prior):
  flow = np.full((64, 64, 2), 7, np.float32)
  assert not prior.complete(flow, np.zeros((64, 64), np.float32)).any()


def textured(side):
  noise = np.random.default_rng(0).normal(size=(side, side, 3))
  picture = cv2.GaussianBlur(noise, (0, 0), 3) * 450 + 128
  return np.clip(picture, 0, 255).astype(np.uint8)


def test_flow_that_fits_is_left_as_it_is(prior):
  grey = cv2.cvtColor(textured(96), cv2.COLOR_RGB2GRAY)
  seen = np.ones((96, 96), np.float32)
  plain = FlowSearcher()(grey, grey)
  flow = motion(FlowSearcher(prior), (grey, seen), (grey, seen), 8)
  np.testing.assert_allclose(flow, plain, atol=1e-3)


def test_what_moves_otherwise_under_the_mask_goes_on_doing_so(prior):
  grey = cv2.cvtColor(textured(96), cv2.COLOR_RGB2GRAY)
  mask = np.zeros((96, 96), bool)
  mask[30:60, 30:60] = True
  now = (cv2.blur(grey, (40, 40)), 1 - mask.astype(np.float32))
  now[0][~mask] = grey[~mask]
  then = (np.roll(grey, 3, axis=1), np.ones((96, 96), np.float32))
  search, inner = FlowSearcher(prior), np.s_[40:50, 40:50]
  expected = np.zeros((96, 96, 2), np.float32)
  expected[..., 0] = np.where(mask, 6.0, 3.0)
  alone = motion(search, now, then, 8.0)
  further = motion(search, now, then, 8.0, expected)
  assert np.abs(alone[inner] - (3, 0)).max() < 0.5
  # A tenth of what is expected is forgotten.
  assert np.abs(further[inner] - (5.7, 0)).max() < 0.5
  seen = now[1] > 0
  assert np.abs(further - alone)[seen].mean() < 0.2


def test_flow_goes_on_from_a_look_to_the_next(prior, monkeypatch):
  expected = []

  def noted(*args, **settings):
    if "expected" in settings:  # not the chained frame
      expected.append(settings["expected"])
    return carry(*args, **settings)

  monkeypatch.setattr("data_prep.faces.propagation.carry", noted)
  picture = textured(160)
  mask = np.zeros((96, 96), np.uint8)
  mask[30:60, 30:60] = 1
  propagate = Propagator(prior=prior, with_looks=True)
  for t, covered in enumerate([0, 1, 1, 1, 0, 1]):
    shown = np.roll(picture, 2 * t, axis=1)[20:116, 30:126]
    propagate(shown, covered * mask, t)
  # Frame 1 looks back at the frame before only, and so does frame 5, which
  # looks at frame 0 besides; the free frame between has looked at nothing.
  told = [e is not None for e in expected]
  assert told[:2] == [True, True] and told[-1] is False
  for t in (0, 1):
    around = expected[t][mask == 0]
    assert np.abs(np.median(around, 0) - (-2 * (t + 2), 0)).max() < 0.5


def test_frames_without_a_mask_are_not_touched(prior):
  image = textured(64)
  propagate = Propagator(prior=prior)
  for _ in range(2):
    result = propagate(image, np.zeros((64, 64), np.uint8))
    np.testing.assert_array_equal(result.image, image)


def test_a_still_clip_stays_still(prior):
  image = textured(96)
  mask = np.zeros((96, 96), np.uint8)
  propagate = Propagator(prior=prior)
  propagate(image, mask)
  mask[30:60, 30:60] = 1
  covered = np.where(mask[..., None] > 0, np.uint8([200, 20, 20]), image)
  for _ in range(3):
    result = propagate(covered, mask)
    apart = np.abs(result.image.astype(int) - image)
    assert apart.mean() < 0.5


def test_saves_and_loads(prior, tmp_path):
  path = tmp_path / "prior.safetensors"
  prior.save(path)
  loaded = FlowPrior.load(path)
  np.testing.assert_allclose(loaded.components, prior.components, atol=1e-3)
  np.testing.assert_array_equal(loaded.variances, prior.variances)


def test_says_what_is_wrong_with_a_file(tmp_path):
  path = tmp_path / "prior.safetensors"
  with pytest.raises(InputError, match="no such file"):
    FlowPrior.load(path)
  path.write_bytes(b"nothing of the kind")
  with pytest.raises(InputError, match="cannot be read"):
    FlowPrior.load(path)


def test_fitting_treats_left_and_right_alike():
  rng = np.random.default_rng(4)
  flows = np.stack([affine_flow(rng, GRID, GRID) / GRID for _ in range(50)])
  mirrored = flows[:, :, ::-1] * np.float32([-1, 1])
  one, other = (FlowPrior.fit(x, components=6) for x in (flows, mirrored))
  np.testing.assert_allclose(one.variances, other.variances, rtol=1e-4)


def test_the_prior_of_the_package_is_the_default(tmp_path):
  prior = open_flow_prior(Recipe(size=64).flow_prior)
  assert prior is not None
  assert prior.components.shape == (48, 32, 32, 2)
  squares = np.square(prior.components).sum((1, 2, 3))
  np.testing.assert_allclose(squares, 1, atol=2e-3)
  assert (np.diff(prior.variances) <= 0).all()
  assert open_flow_prior("none") is None
  copy = tmp_path / "copy.safetensors"
  prior.save(copy)
  named = open_flow_prior(str(copy))
  assert named is not None
  np.testing.assert_array_equal(named.components, prior.components)


def drawn_psnr(flow_prior):
  """PSNR in the mask of what is propagated in drawn clips, in dB."""
  recipe = Recipe(size=64, paste=OcclusionConfig(), flow_prior=flow_prior)
  values = []
  for seed in (86, 89, 90):
    for record in recipe.records(seed):
      assert isinstance(record, FrameRecord)
      if record.mask.any():
        apart = record.propagated.astype(float) - record.target
        error = np.square(apart[record.mask > 0]).mean()
        values.append(10 * np.log10(255**2 / error))
  return np.mean(values)


def test_it_helps_where_nobody_has_said_so():
  """On drawn faces, which it was not fitted to.

  Their motions are smooth, and so go on as expected even without it.
  """
  assert drawn_psnr("faces") > drawn_psnr("none") + 0.3
