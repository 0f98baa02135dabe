from itertools import pairwise

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffmvr_jax.evaluation.summary import verdict
from diffmvr_jax.media.video import read_frames
from diffmvr_jax.metrics.accumulators import Measurements
from diffmvr_jax.metrics.clip_metrics import (
  ClipMetrics,
  MetricNetworks,
  frame_similarity,
  measure_methods,
)
from diffmvr_jax.metrics.flow import backward_flow
from diffmvr_jax.metrics.similarity import psnr, ssim
from diffmvr_jax.metrics.temporal import (
  temporal_consistency,
  warping_error,
  with_printed_divisor,
)


@pytest.fixture(scope="module", params=["drawn", "real"])
def pair(request):
  """Restored and true frames; the real ones are a face, spoilt by noise."""
  rng = np.random.default_rng(0)
  if request.param == "real":
    folder = request.getfixturevalue("assets") / "faces"
    frames = read_frames(folder / "face_01.mp4")
    target = np.stack([next(frames).image[::10, ::12][:48, :40] for _ in "123"])
    noisy = np.clip(target + rng.normal(0, 12, target.shape), 0, 255)
    return noisy.astype(np.uint8), target
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


def test_only_covered_frames_count(pair):
  prediction, target = pair
  mask = np.zeros((*target.shape[:3], 1), np.uint8)
  mask[1, 5:20, 5:20] = 1
  metrics = ClipMetrics()
  metrics.add_frames(prediction, target, mask)
  assert metrics.measurements.by_metric["psnr"].frames == 1
  alone = psnr(*(jnp.asarray(a[1:2]) for a in (prediction, target, mask)))
  value = metrics.measurements.values()["psnr_mask"]
  assert value == pytest.approx(float(alone[0]), rel=1e-6)


def test_a_clip_in_pieces_is_the_clip(pair):
  prediction, target = (np.concatenate([a, a[::-1]] * 15) for a in pair)
  mask = np.zeros((*target.shape[:3], 1), np.uint8)
  mask[20:70, 5:30, 5:20] = 1
  whole, pieces = ClipMetrics(), ClipMetrics()
  whole.add_frames(prediction, target, mask)
  for start in range(0, len(mask), 7):
    part = slice(start, start + 7)
    pieces.add_frames(prediction[part], target[part], mask[part])
  assert whole.measurements.by_metric["tc"].frames == len(mask) - 1
  assert pieces.measurements.by_metric["tc"].videos == 1
  assert whole.measurements.values() == pytest.approx(
    pieces.measurements.values(), rel=1e-5
  )
  assert (
    whole.measurements.by_metric.keys() == pieces.measurements.by_metric.keys()
  )


def test_methods_are_measured_together_as_each_alone(pair):
  restored, target = (np.concatenate(23 * [frames]) for frames in pair)
  mask = np.zeros((*target.shape[:3], 1), np.uint8)
  mask[1:, 10:30, 10:30] = 1
  methods = {"restored": restored, "nothing": target[::-1]}
  together = measure_methods(methods, target, mask, MetricNetworks())
  for name, frames in methods.items():
    alone = ClipMetrics()
    alone.add_frames(frames, target, mask)
    assert together[name].values() == alone.measurements.values()


def test_similarity_is_told_frame_by_frame(pair):
  restored, target = (np.concatenate(6 * [frames]) for frames in pair)
  mask = np.zeros((*target.shape[:3], 1), np.uint8)
  mask[1:, 10:30, 10:30] = 1
  found = frame_similarity(restored, target, mask)
  arrays = [jnp.asarray(x) for x in (restored, target, mask)]
  for name, metric in (("psnr", psnr), ("ssim", ssim)):
    of_mask = metric(*arrays)
    np.testing.assert_allclose(found[f"{name}_mask"], of_mask, rtol=1e-4)
    np.testing.assert_allclose(found[name], metric(*arrays[:2]), rtol=1e-4)
  assert np.isnan(found["psnr_mask"][0])


def test_two_videos_add_up(pair):
  prediction, target = pair
  mask = np.ones((*target.shape[:3], 1), np.uint8)
  one, other = ClipMetrics(), ClipMetrics()
  one.add_frames(prediction, target, mask)
  other.add_frames(target[:1], target[:1], mask[:1])
  both = one.measurements + other.measurements
  value = one.measurements.values()["psnr"]
  assert both.values()["psnr"] == pytest.approx((3 * value + 100) / 4)
  assert both.by_metric["psnr"].videos == 2
  assert both.by_metric["tc"].videos == 1


def test_the_printed_divisor_is_that_of_512_pixels():
  assert with_printed_divisor(1.0, 64, 64) == pytest.approx(64 * 64 / 512**2)


def test_a_moved_frame_has_no_warping_error():
  """A shift by whole pixels is undone but for what comes into sight."""
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 255, (1, 40, 60, 3)).astype(np.uint8)
  frames = np.concatenate([np.roll(noise, 3 * i, axis=2) for i in range(3)])
  flow = np.zeros((2, 40, 60, 2), np.float32)
  flow[..., 0] = -3
  visible = np.ones((2, 40, 60, 1), np.uint8)
  visible[:, :, :3] = 0
  total, weight = warping_error(*map(jnp.asarray, (frames, flow, visible)))
  assert float(total) == pytest.approx(0, abs=1e-9)
  assert float(weight) == visible.sum()
  still, _ = warping_error(*map(jnp.asarray, (frames, 0 * flow, visible)))
  assert float(still) > 100


def test_warping_samples_as_opencv_does(pair):
  frames = pair[0][:2]
  rng = np.random.default_rng(0)
  flow = rng.uniform(-2, 2, (1, 48, 40, 2)).astype(np.float32)
  visible = np.zeros((1, 48, 40, 1), np.uint8)
  visible[:, 4:-4, 4:-4] = 1
  grid = np.stack(np.meshgrid(np.arange(40), np.arange(48)), -1)
  place = (grid + flow[0]).astype(np.float32)
  moved = cv2.remap(frames[0] / 255, place, None, cv2.INTER_LINEAR)
  squared = ((frames[1] / 255 - moved) ** 2).mean(-1, keepdims=True)
  expected = (squared * visible[0]).sum()
  total, _ = warping_error(*map(jnp.asarray, (frames, flow, visible)))
  # OpenCV rounds places to a thirty-second of a pixel.
  assert float(total) == pytest.approx(expected, rel=1e-2)


def test_flow_finds_a_shift():
  y, x = np.mgrid[:96, :96]
  picture = 128 + 60 * np.sin(x / 5) * np.cos(y / 7) + 40 * np.sin(y / 11)
  frames = np.stack([np.roll(picture, 2 * i, axis=1) for i in range(2)])
  frames = np.repeat(frames[..., None], 3, axis=-1).astype(np.uint8)
  flow, visible = backward_flow(frames)
  assert np.median(flow[0, 20:-20, 20:-20, 0]) == pytest.approx(-2, abs=0.2)
  assert np.median(flow[0, 20:-20, 20:-20, 1]) == pytest.approx(0, abs=0.2)
  assert visible[0, 20:-20, 20:-20].mean() > 0.9


def values(**by_metric):
  return {name: {"value": value} for name, value in by_metric.items()}


def test_verdict_names_what_is_not_beaten():
  methods = {
    "model": values(psnr_mask=20.0, ssim_mask=0.9, tc_mask=0.2),
    "good": values(psnr_mask=25.0, ssim_mask=0.5, tc_mask=0.1),
  }
  assert verdict("model", methods) == [
    "PSNR in mask: model does not beat good.",
    "SSIM in mask: model beats good.",
    "TC in mask: model does not beat good.",
  ]


def test_the_papers_averages_are_over_videos():
  """However long a video is; and SSIM is over frames without a mask as well."""
  rng = np.random.default_rng(1)
  parts = []
  for frames in (3, 7):
    target = rng.integers(0, 256, (frames, 16, 16, 3), np.uint8)
    restored = rng.integers(0, 256, target.shape, np.uint8)
    mask = np.ones((frames, 16, 16, 1), np.uint8)
    mask[0] = 0
    restored[0] = target[0]
    networks = MetricNetworks(inception=lambda x: np.stack(x)[:, 0, :4, 0])
    metrics = ClipMetrics(networks)
    metrics.add_frames(restored, target, mask)
    parts.append(metrics.measurements)
  together = sum(parts, Measurements())
  first, second = (part.values() for part in parts)
  for paper, own in (("fid_paper", "fid"), ("tc_paper", "tc")):
    scale = (16 / 512) ** 2 if paper == "tc_paper" else 1
    mean = scale * (first[own] + second[own]) / 2
    assert together.values()[paper] == pytest.approx(mean)
    assert together.values()[own] != pytest.approx(mean / scale, rel=1e-3)
  ssims = [(1 + 2 * first["ssim"]) / 3, (1 + 6 * second["ssim"]) / 7]
  assert together.values()["ssim_paper"] == pytest.approx(np.mean(ssims))
