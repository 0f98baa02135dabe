"""Restoring crops and whole frames by what was seen before."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.faces.flow_prior import FlowPrior
from data_prep.faces.propagation import PropagationConfig, Propagator
from data_prep.procedural import SIZE
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import PROPAGATED, read_frames
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.baselines import BASELINES
from diffmvr_jax.inference.crop_filling import CropFiller
from diffmvr_jax.inference.paste import composite
from diffmvr_jax.inference.propagation import PropagationFiller
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import (
  RestoredFrame,
  SourceFrame,
  StreamOptions,
  restore_stream,
)
from diffmvr_jax.inference.whole_frame import with_faces
from diffmvr_jax.media.video import TimedFrame, VideoInfo
from diffmvr_jax.media.video import read_frames as frames_of
from diffmvr_jax.media.video_writer import VideoWriter
from diffmvr_jax.restore import main as restore
from tests.data_prep.clips import CentredRecipe, drawn, masked


@pytest.fixture(scope="module")
def records(tiny_data):
  records = RecordSource(tiny_data, "test")
  _, positions = next(records.videos())
  identity = np.eye(2, 3, dtype=np.float32)
  return [replace(records[i], crop_transform=identity) for i in positions]


def test_crops_are_filled_with_what_was_seen(records):
  filler = PropagationFiller(crop_size=32)
  assert isinstance(filler, CropFiller)
  frames = [SourceFrame(r.image, k, r) for k, r in enumerate(records)]
  filled = 0
  for done in restore_stream(filler, frames):
    record = done.source.record
    if done.alpha is None:
      assert done.image is done.source.image
      continue
    inside = done.alpha == 1
    filled += inside.sum()
    np.testing.assert_array_equal(done.image[inside], record.propagated[inside])
    assert done.spread is None
  assert filled


def test_what_nobody_has_seen_stays(records):
  nothing = np.zeros((32, 32), np.uint8)
  unseen = [replace(r, propagated_confidence=nothing) for r in records]
  frames = [SourceFrame(r.image, k, r) for k, r in enumerate(unseen)]
  options = StreamOptions(samples=2)
  filler = PropagationFiller(crop_size=32)
  for done in restore_stream(filler, frames, options):
    np.testing.assert_array_equal(done.image, done.source.image)


def test_doubt_is_shown_as_spread(records):
  frames = [SourceFrame(r.image, k, r) for k, r in enumerate(records)]
  options = StreamOptions(samples=2)
  for done in restore_stream(PropagationFiller(crop_size=32), frames, options):
    if done.spread is not None and (done.alpha == 1).any():
      inside = done.alpha == 1
      levels = done.source.record.propagated_confidence[inside]
      np.testing.assert_allclose(
        done.spread[inside], 64 * (1 - levels / 255), atol=1e-3
      )
      return
  raise AssertionError("nothing was filled")


def test_evaluation_propagates_without_what_was_learned(tiny_data):
  """Records may hold what a prior of faces has helped with."""
  source = RecordSource(tiny_data, "test")
  _, positions = next(source.videos())
  stored = read_frames(source, list(positions), PROPAGATED)
  marked = stored | {"propagated": 0 * stored["propagated"]}
  inside = stored["mask"][..., 0] > 0
  made = BASELINES["propagation"](marked)
  apart = made[inside].astype(int) - stored["propagated"][inside]
  assert 0 < np.abs(apart).mean() < 6


def test_the_warped_past_follows_the_motion():
  noise = np.random.default_rng(0).normal(size=(96, 96, 3))
  scene = cv2.GaussianBlur(noise, (0, 0), 2) * 250 + 128
  scene = np.clip(scene, 0, 255).astype(np.uint8)
  past, target = scene[8:72, 8:72], scene[10:74, 13:77]
  mask = np.zeros((64, 64, 1), np.uint8)
  mask[24:44, 24:44] = 1
  clip = {
    "frame": np.where(mask > 0, np.uint8(0), target)[None],
    "mask": mask[None],
    "past": past[None],
    "past_valid": np.array([True]),
  }

  def error(name):
    made = BASELINES[name](clip)[0].astype(int)
    return np.abs(made - target)[mask[..., 0] > 0].mean()

  assert error("warped past") < 0.3 * error("past frame")


def waved_at():
  """A background, and a square that passes over it and back; no face."""
  picture = cv2.GaussianBlur(
    np.random.default_rng(1).normal(size=(90, 140, 3)), (0, 0), 4
  )
  picture = np.clip(picture * 500 + 128, 0, 255).astype(np.uint8)
  frames, masks = [], []
  for left in (-30, -30, 0, 20, 40, 60):
    mask = np.zeros((90, 140), np.uint8)
    mask[20:50, max(0, left) : max(0, left + 30)] = 1
    frames.append(np.where(mask[..., None] > 0, np.uint8([250, 9, 9]), picture))
    masks.append(mask)
  return picture, np.stack(frames), np.stack(masks)


def test_an_occluder_is_taken_out_of_the_whole_frame():
  picture, frames, masks = waved_at()
  made = Restorer.propagation(region="frame")(frames, masks)
  np.testing.assert_array_equal(made[0], frames[0])
  assert np.abs(made.astype(int) - picture).mean() < 0.5
  assert np.abs(made.astype(int) - picture).max() < 40
  # What was covered from the beginning goes, if it is seen later,
  back = Restorer.propagation(region="frame")(frames[:0:-1], masks[:0:-1])
  assert np.abs(back.astype(int) - picture).max() < 40
  live = Restorer.propagation(region="frame", lookahead=0)
  np.testing.assert_array_equal(
    live(frames[:2:-1], masks[:2:-1])[0], frames[-1]
  )
  # and stays if it is not.
  late = Restorer.propagation(region="frame")(frames[3:4], masks[3:4])
  np.testing.assert_array_equal(late, frames[3:4])


def test_a_face_is_put_into_the_frame_that_was_cleared_around_it():
  source = SourceFrame(np.full((4, 6, 3), 100, np.uint8), 0, None)
  whole = np.zeros((4, 6), np.float32)
  whole[:, :4] = 1
  cleared = RestoredFrame(
    source=source,
    image=np.where(whole[..., None] > 0, np.uint8(20), source.image),
    alpha=whole,
    spread=np.full((4, 6), 3, np.float32),
  )
  alpha = np.zeros((4, 6), np.float32)
  alpha[:, 2], alpha[:, 3] = 0.5, 1
  face = RestoredFrame(
    source=source,
    image=composite(source.image, np.full((4, 6, 3), 60, np.uint8), alpha),
    alpha=alpha,
    spread=np.full((4, 6), 7, np.float32),
  )
  free = RestoredFrame(source=source, image=source.image)
  both, alone, empty = with_faces([cleared, cleared, free], [face, free, free])
  # Cleared, cleared, half of each, the face, and as filmed.
  assert both.image[0, :, 0].tolist() == [20, 20, 40, 60, 100, 100]
  assert both.alpha[0].tolist() == [1, 1, 1, 1, 0, 0]
  assert both.spread[0].tolist() == [3, 3, 3, 7, 3, 3]
  np.testing.assert_array_equal(alone.image, cleared.image)
  assert empty.image is source.image


RED = np.array([200, 0, 0], np.uint8)


class RedFiller:
  """Fills crops with a colour."""

  crop_size, window, aligned, provenance = 64, 4, "none", {}

  def fill(self, window, frame_index, seed, *, previous=None):
    return np.broadcast_to(RED, window["frame"].shape).copy()

  def confidence(self, window):
    return None


def test_with_a_filler_faces_and_frames_are_restored():
  """Where both are filled, the face is the filler's."""
  recipe = CentredRecipe(size=64)
  truth = np.stack(drawn(3)[0][:6])
  masks = np.zeros(truth.shape[:3], bool)
  masks[3:5, 70:110, :95] = True  # from the frame's border into the face
  frames = np.where(masks[..., None], np.uint8(0), truth)

  def restored(filler, region):
    return Restorer(filler, recipe, region=region)(frames, masks)

  face = restored(RedFiller(), "face")
  whole = restored(RedFiller(), "frame")
  cleared = restored(PropagationFiller(crop_size=64), "frame")
  beside = np.s_[3:5, 75:105, :8]
  np.testing.assert_array_equal(face[beside], frames[beside])
  np.testing.assert_array_equal(whole[beside], cleared[beside])
  inside = np.s_[3:5, 85:95, 75:85]
  np.testing.assert_array_equal(whole[inside], face[inside])
  assert (whole[inside] == RED).all()


class HandFound(CentredRecipe):
  """Finds a part of what covers the picture, as hands are found, not arms."""

  def occluder_detector(self, video, pace):
    return masked(self.part(), overlooks=True)

  @staticmethod
  def part():
    hand = np.zeros((SIZE, SIZE), np.uint8)
    hand[80:100, 30:50] = 1
    return [hand if i >= 8 else None for i in range(14)]


def test_an_arm_goes_with_its_hand_but_a_face_is_left_alone():
  truth = np.stack(drawn(3)[0][:14])
  frames = truth.copy()
  # From the frame's border into the face; the detector finds its middle.
  frames[8:, 82:98, :90] = 0
  recipe = HandFound(size=64, lookahead=0)
  whole = Restorer(RedFiller(), recipe, region="frame")(frames)
  arm = np.s_[9:, 84:96, :25]
  assert frames[arm].max() == 0
  assert np.abs(whole[arm].astype(int) - truth[arm]).mean() < 15
  face = np.s_[9:, 85:95, 75:85]
  np.testing.assert_array_equal(whole[face], frames[face])
  # Masks that somebody has made are taken as they are.
  made = [np.zeros((SIZE, SIZE)) if m is None else m for m in recipe.part()]
  given = Restorer(RedFiller(), recipe, region="frame")(frames, np.stack(made))
  np.testing.assert_array_equal(
    given[arm][..., :10, :], frames[arm][..., :10, :]
  )


def test_frames_finer_than_the_flow_have_no_edge_around_the_unseen():
  """Half of what is covered was seen; the flow's grid is half as fine."""
  grey = np.full((64, 64, 3), 160, np.uint8)
  propagate = Propagator(PropagationConfig(flow_side=32))
  for left in (20, 20, 26):
    mask = np.zeros((64, 64), np.uint8)
    mask[20:44, left : left + 20] = 1
    made = propagate(np.where(mask[..., None] > 0, np.uint8(9), grey), mask)
    assert np.abs(made.image.astype(int) - 160).max() <= 3


def test_faces_are_restored_without_a_model():
  recipe = CentredRecipe(size=64)
  restorer = Restorer(PropagationFiller(crop_size=64), recipe)
  truth = np.stack(drawn(3)[0][:6])
  masks = np.zeros(truth.shape[:3], bool)
  masks[3:5, 70:110, 60:95] = True
  frames = np.where(masks[..., None], np.uint8(0), truth)
  made = restorer(frames, masks)
  left = np.abs(made.astype(int) - truth)[masks].mean()
  assert left < 0.15 * np.abs(frames.astype(int) - truth)[masks].mean()


def write(path, images):
  height, width = images[0].shape[:2]
  info = VideoInfo(
    width=width,
    height=height,
    fps=Fraction(25),
    time_base=Fraction(1, 1000),
    has_audio=False,
  )
  with VideoWriter(path, info, lossless=True) as writer:
    for i, image in enumerate(images):
      writer.write(TimedFrame(image, 40 * i))


def test_the_command_needs_neither_model_nor_face(tmp_path, capsys):
  picture, frames, masks = waved_at()
  video, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
  write(video, frames)
  write(tmp_path / "masks.mkv", np.repeat(255 * masks[..., None], 3, -1))
  restore(
    [
      *(str(video), "--method", "propagation", "--region", "frame"),
      *("--occluder", f"masks:{tmp_path / 'masks.mkv'}", "--lossless"),
      *("--out", str(out), "--confidence", str(tmp_path / "sure.mkv")),
    ]
  )
  assert "4 of 6 frames restored" in capsys.readouterr().out
  made = np.stack([frame.image for frame in frames_of(out)])
  assert np.abs(made.astype(int) - picture).mean() < 1
  with np.load(tmp_path / "sure.npz") as spreads:
    assert 0 < spreads["frame_000004"].max() < 64


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["--method", "propagation", "--checkpoint", "x"], "has no model"),
    (["--method", "propagation", "sampling.steps=2"], "has no model"),
    (
      [*("--method", "propagation", "--region", "frame"), "--occluder=learned"],
      "masks of whole pictures|without an occluder network",
    ),
    (
      [*("--method", "propagation", "--region", "frame"), "--flow-prior=x"],
      "knows faces only",
    ),
  ],
)
def test_arguments_that_do_not_fit(arguments, said, tmp_path):
  write(tmp_path / "in.mkv", np.zeros((2, SIZE, SIZE, 3), np.uint8))
  out = str(tmp_path / "out.mkv")
  with pytest.raises(InputError, match=said):
    restore([str(tmp_path / "in.mkv"), "--out", out, *arguments])


def test_a_flow_prior_is_used_and_a_missing_one_is_named(tmp_path):
  images = np.stack(drawn(3)[0][:8])
  masks = np.zeros(images.shape[:3], bool)
  masks[3:6, 70:110, 60:95] = True
  flow = np.zeros((1, 32, 32, 2), np.float32)
  flow[..., 0] = 1 / 32
  prior = FlowPrior(components=flow, variances=np.ones(1, np.float32))
  prior.save(tmp_path / "prior.safetensors")

  def restored(path: Path | None) -> np.ndarray:
    recipe = CentredRecipe(
      size=64, lookahead=0, flow_prior="none" if path is None else str(path)
    )
    return Restorer(PropagationFiller(crop_size=64), recipe)(images, masks)

  plain = restored(None)
  assert (restored(Path("faces")) != plain).any()
  assert (restored(tmp_path / "prior.safetensors") != plain).any()
  with pytest.raises(InputError, match=r"nothing\.safetensors"):
    restored(tmp_path / "nothing.safetensors")


def test_the_guidance_preview_needs_crops(tmp_path):
  write(tmp_path / "in.mkv", np.zeros((2, SIZE, SIZE, 3), np.uint8))
  arguments = ["--method", "propagation", "--region", "frame"]
  arguments += ["--occluder", f"masks:{tmp_path / 'in.mkv'}"]
  with pytest.raises(InputError, match="crops of faces"):
    restore(
      [
        *(str(tmp_path / "in.mkv"), *arguments),
        *("--out", str(tmp_path / "out.mkv"), "--guidance-out", "g.mkv"),
      ]
    )
