from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffmvr_jax.metrics.report import verdict
from diffmvr_jax.metrics.score import average, score_clip
from diffmvr_jax.metrics.similarity import psnr, ssim
from diffmvr_jax.metrics.temporal import temporal_consistency


@pytest.fixture(scope="module")
def pair():
  rng = np.random.default_rng(0)
  y, x = np.mgrid[:48, :40]
  target = np.stack(
    [128 + 100 * np.sin(x / k) * np.cos(y / 9) for k in (4, 7, 9)], -1
  )
  target = np.clip(target[None] + rng.normal(0, 6, (3, 48, 40, 3)), 0, 255)
  noisy = np.clip(target + rng.normal(0, 12, target.shape), 0, 255)
  return noisy.astype(np.uint8), target.astype(np.uint8)


def test_psnr_equals_scikit_image(pair):
  expected = [
    peak_signal_noise_ratio(t, p, data_range=255)
    for p, t in zip(*pair, strict=True)
  ]
  np.testing.assert_allclose(psnr(*map(jnp.asarray, pair)), expected, rtol=1e-5)


def test_ssim_equals_scikit_image(pair):
  expected = [
    structural_similarity(
      p,
      t,
      data_range=255,
      channel_axis=-1,
      gaussian_weights=True,
      sigma=1.5,
      use_sample_covariance=False,
    )
    for p, t in zip(*pair, strict=True)
  ]
  np.testing.assert_allclose(ssim(*map(jnp.asarray, pair)), expected, atol=1e-6)


def test_inside_the_mask_only_the_mask_counts(pair):
  prediction, target = pair
  mask = np.zeros((*target.shape[:3], 1), np.uint8)
  mask[:, 20:30, 15:25] = 1
  spoiled = np.where(mask > 0, prediction, 255 - prediction)
  arrays = [jnp.asarray(a) for a in (prediction, spoiled, target, mask)]
  inside = psnr(arrays[0], arrays[2], arrays[3])
  np.testing.assert_allclose(psnr(*arrays[1:]), inside, rtol=1e-6)
  squared = (prediction.astype(float) - target)[:, 20:30, 15:25] ** 2
  expected = 10 * np.log10(255**2 / squared.mean((1, 2, 3)))
  np.testing.assert_allclose(inside, expected, rtol=1e-5)


def test_masked_ssim_averages_the_map(pair):
  prediction, target = pair
  mask = np.zeros((*target.shape[:3], 1), np.uint8)
  mask[:, 20:30, 15:25] = 1
  expected = []
  for p, t in zip(prediction, target, strict=True):
    _, full = structural_similarity(
      p,
      t,
      data_range=255,
      channel_axis=-1,
      gaussian_weights=True,
      sigma=1.5,
      use_sample_covariance=False,
      full=True,
    )
    expected.append(full[20:30, 15:25].mean())
  actual = ssim(*(jnp.asarray(a) for a in (prediction, target, mask)))
  np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_temporal_consistency_is_equation_e3(pair):
  frames = pair[0].astype(float)
  total = sum(np.sum((b - a) ** 2) for a, b in pairwise(frames))
  expected = total / (len(frames) - 1) / (48 * 40 * 255**2)
  actual = temporal_consistency(jnp.asarray(pair[0]))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_score_counts_occluded_frames_only(pair):
  prediction, target = pair
  mask = np.zeros((*target.shape[:3], 1), np.uint8)
  mask[1, 5:20, 5:20] = 1
  scores = score_clip(prediction, target, mask)
  assert scores["frames"] == 1
  alone = psnr(*(jnp.asarray(a[1:2]) for a in (prediction, target, mask)))
  assert scores["psnr_mask"] == pytest.approx(float(alone[0]), rel=1e-6)


def test_average_weighs_by_frames():
  clips = [{"frames": 1, "tc": 1.0}, {"frames": 3, "tc": 5.0}, {"frames": 0}]
  assert average(clips) == {"frames": 4, "tc": 4.0}


def test_verdict_names_what_is_not_beaten():
  methods = {
    "model": {"psnr_mask": 20.0, "ssim_mask": 0.9, "tc_mask": 0.2},
    "good": {"psnr_mask": 25.0, "ssim_mask": 0.5, "tc_mask": 0.1},
  }
  assert verdict("model", methods) == [
    "PSNR in mask: model does not beat good.",
    "SSIM in mask: model beats good.",
    "TC in mask: model does not beat good.",
  ]
