"""What is written beside a restoration, and what the samples say."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from data_prep.detections import Detections
from data_prep.faces.finder import FaceFinder
from data_prep.prepare import RealOcclusion, prepare
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.paste import feather
from diffmvr_jax.inference.previews import PreviewPaths
from diffmvr_jax.inference.stream import (
  SourceFrame,
  StreamOptions,
  restore_stream,
)
from diffmvr_jax.inference.written_video import restore_video
from diffmvr_jax.media.sources import open_source
from diffmvr_jax.media.video import TimedFrame, VideoInfo, read_frames
from diffmvr_jax.media.video_writer import VideoWriter
from tests.data_prep.clips import clip_of, drawn, listed, masked

SIZE = 160
COVERED = range(4, 7)


def hand(height=40):
  mask = np.zeros((SIZE, SIZE), np.uint8)
  mask[70 : 70 + height, 60:95] = 1
  return mask


@pytest.fixture(scope="module")
def restorer(tiny_checkpoint):
  return CropRestorer.from_checkpoint(tiny_checkpoint)


def frames(masks, **options):
  images, landmarks = drawn(1)
  images, landmarks = images[: len(masks)], landmarks[: len(masks)]
  records = prepare(
    clip_of(images),
    size=32,
    find_face=listed(landmarks),
    occlusion=RealOcclusion(detector=masked(masks), **options),
  )
  return [
    SourceFrame(image, i, record)
    for i, (image, record) in enumerate(zip(images, records, strict=True))
  ]


def write(path, source):
  info = VideoInfo(
    width=SIZE,
    height=SIZE,
    fps=Fraction(25),
    time_base=Fraction(1, 25),
    has_audio=False,
  )
  with VideoWriter(path, info, lossless=True) as writer:
    for frame in source:
      writer.write(TimedFrame(frame.image, frame.pts))


@pytest.fixture(scope="module")
def source():
  return frames([hand() if i in COVERED else None for i in range(9)])


def test_previews_show_what_was_done(source, restorer, tmp_path):
  video = tmp_path / "source.mkv"
  write(video, source)
  paths = PreviewPaths(
    mask=tmp_path / "mask",
    guidance=tmp_path / "guidance",
    side_by_side=tmp_path / "sides",
    confidence=tmp_path / "spread",
  )
  restore_video(
    open_source(video),
    source,
    restorer,
    tmp_path / "out",
    options=StreamOptions(samples=3),
    previews=paths,
  )
  seen = {
    name: [f.image for f in open_source(tmp_path / name).frames]
    for name in ("out", "mask", "guidance", "sides", "spread")
  }
  arrays = np.load(tmp_path / "spread.npz")
  assert set(arrays) == {f"frame_{i:06d}" for i in COVERED}
  for i, frame in enumerate(source):
    before, after = np.hsplit(seen["sides"][i], 2)
    np.testing.assert_array_equal(before, frame.image)
    np.testing.assert_array_equal(after, seen["out"][i])
    crop, mirrored, past = np.hsplit(seen["guidance"][i], 3)
    assert (crop[frame.record.mask > 0] == 0).all()
    mirror = frame.record.symmetric * frame.record.symmetric_valid
    np.testing.assert_array_equal(mirrored, mirror)
    outside = seen["mask"][i][..., 0] == 0
    if i not in COVERED:
      assert outside.all()
      np.testing.assert_array_equal(seen["spread"][i], frame.image)
      continue
    np.testing.assert_array_equal(past, source[3].record.image)
    spread = arrays[f"frame_{i:06d}"]
    assert spread.shape == (SIZE, SIZE) and spread.max() > 0
    assert (spread[outside] == 0).all()
    np.testing.assert_array_equal(
      seen["spread"][i][outside], frame.image[outside]
    )
    assert (seen["spread"][i] != seen["out"][i]).any()


def test_the_first_sample_is_what_is_shown(source, restorer):
  plain = list(restore_stream(restorer, source))
  many = list(restore_stream(restorer, source, StreamOptions(samples=2)))
  for one, other in zip(plain, many, strict=True):
    np.testing.assert_array_equal(one.image, other.image)
    assert one.spread is None
    assert (other.spread is None) == (not other.source.occluded)


def test_the_spread_is_the_samples_deviation(source, restorer):
  i = COVERED[0]
  record = source[i].record
  identity = dataclasses.replace(
    record, crop_transform=np.eye(2, 3, dtype=np.float32), past_index=-1
  )
  alone = [SourceFrame(record.image, 0, identity)]
  images = [
    next(restore_stream(restorer, alone, StreamOptions(seed=s))).image
    for s in (5, 6)
  ]
  both = next(restore_stream(restorer, alone, StreamOptions(seed=5, samples=2)))
  inside = record.mask > 0
  inside &= both.alpha == 1
  expected = np.std(np.stack(images).astype(float), axis=0).mean(-1)
  np.testing.assert_allclose(both.spread[inside], expected[inside], atol=1e-4)


def test_masks_grow_by_the_dilation():
  plain, grown = (frames([hand()], dilation=d)[0].record.mask for d in (0, 8))
  assert plain.sum() < grown.sum()
  assert (grown[plain > 0] == 1).all()


def test_a_harder_feather_reaches_less_far():
  mask = frames([hand()])[0].record.mask
  np.testing.assert_array_equal(feather(mask, 0.0), mask)
  assert (feather(mask, 0.1) > 0).sum() > (feather(mask) > 0).sum()


def test_occlusion_from_the_first_frame_has_no_past(restorer):
  source = frames([hand()] * 3)
  assert [f.record.past_index for f in source] == [-1] * 3
  done = list(restore_stream(restorer, source))
  assert all((d.image != d.source.image).any() for d in done)
  assert all(d.past is None for d in done)


def test_a_wholly_covered_face_is_restored_from_the_past(restorer):
  everything = np.ones((SIZE, SIZE), np.uint8)
  source = frames([None, None, everything, everything])
  assert not source[2].record.symmetric_valid
  done = list(restore_stream(restorer, source))
  for one in done[2:]:
    assert (one.image != one.source.image).any()
    np.testing.assert_array_equal(one.past, source[1].record.image)


def boxes(*lefts):
  corners = [(left, 0, left + 20, 20 + left / 10) for left in lefts]
  return Detections(
    boxes=np.asarray(corners, np.float32).reshape(-1, 4),
    scores=np.ones(len(lefts), np.float32),
  )


@pytest.mark.parametrize(
  ("which", "lefts"), [("largest", [200, 205]), (0, [10, 12]), (1, [100, 104])]
)
def test_one_of_several_faces_is_followed(which, lefts):
  script = iter([boxes(100, 10, 200), boxes(12, 205, 104)])
  finder = FaceFinder(lambda image, index: next(script), which)
  found = [finder(np.zeros((8, 8, 3), np.uint8), i) for i in range(2)]
  assert [f.box[0] for f in found] == lefts


def test_the_third_of_two_faces_is_nobody():
  finder = FaceFinder(lambda image, index: boxes(10, 100), 2)
  assert finder(np.zeros((8, 8, 3), np.uint8), 0) is None


def test_a_chosen_face_that_leaves_is_not_replaced():
  script = iter([boxes(10, 100), boxes(100), boxes(15, 100)])
  finder = FaceFinder(lambda image, index: next(script), 0)
  found = [finder(np.zeros((8, 8, 3), np.uint8), i) for i in range(3)]
  assert found[1] is None
  assert found[0].box[0] == 10 and found[2].box[0] == 15


def test_a_causal_preparation_waits_for_nothing():
  images, landmarks = drawn(1)
  asked = []

  def images_one_by_one():
    for i, image in enumerate(images[:6]):
      asked.append(i)
      yield image

  records = prepare(
    clip_of(images_one_by_one()),
    size=32,
    find_face=listed(landmarks),
    occlusion=RealOcclusion(detector=masked([hand()] * 6, overlooks=True)),
    lookahead=0,
  )
  for i, _ in enumerate(records):
    assert asked[-1] == i


def test_the_video_is_the_same_with_and_without_previews(
  source, restorer, tmp_path
):
  video = tmp_path / "source.mkv"
  write(video, source)
  outs = []
  for name, previews in (
    ("a.mkv", None),
    ("b.mkv", PreviewPaths(mask=tmp_path / "mask.mp4")),
  ):
    restore_video(
      open_source(video), source, restorer, tmp_path / name, previews=previews
    )
    outs.append((tmp_path / name).read_bytes())
  assert outs[0] == outs[1]
  assert len(list(read_frames(tmp_path / "mask.mp4"))) == len(source)
