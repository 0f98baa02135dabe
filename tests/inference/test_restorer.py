"""From video to restored video; the model is tiny, the path is the real one."""

import json
import re
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

import diffmvr_jax
from data_prep.faces import crop
from data_prep.prepare import RealOcclusion, prepare
from data_prep.procedural import SIZE, ProceduralVideo
from data_prep.sources import file_clip
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames as read_clip
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.baselines import BASELINES
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.paste import feather
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import SourceFrame, StreamOptions
from diffmvr_jax.inference.written_video import Outcome, restore_video
from diffmvr_jax.media.sources import open_source
from diffmvr_jax.media.video import TimedFrame, VideoInfo, probe, read_frames
from diffmvr_jax.media.video_writer import VideoWriter
from tests.data_prep.clips import CentredRecipe, drawn, listed, masked


@pytest.fixture(scope="module")
def restorer(tiny_checkpoint):
  return CropRestorer.from_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def clip(tiny_data):
  records = RecordSource(tiny_data, "test")
  _, positions = next(records.videos())
  return read_clip(records, list(positions))


def test_only_the_feathered_mask_changes(restorer, clip):
  restored = restorer(clip)
  assert restored.shape == clip["frame"].shape
  changed = 0
  for before, after, mask in zip(
    clip["frame"], restored, clip["mask"][..., 0], strict=True
  ):
    outside = feather(mask) == 0
    np.testing.assert_array_equal(before[outside], after[outside])
    changed += (before != after).any()
  assert changed > 0
  assert (
    restored[clip["mask"].sum((1, 2, 3)) == 0]
    == clip["frame"][clip["mask"].sum((1, 2, 3)) == 0]
  ).all()


def test_the_seed_decides(restorer, clip):
  np.testing.assert_array_equal(restorer(clip, 1), restorer(clip, 1))
  assert (restorer(clip, 1) != restorer(clip, 2)).any()


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp_2m", "lcm"])
def test_every_sampler_restores(sampler, tiny_checkpoint, clip, restorer):
  how = [f"sampling.sampler={sampler}", "sampling.steps=2"]
  other = CropRestorer.from_checkpoint(tiny_checkpoint, how)(clip)
  outside = np.stack([feather(mask[..., 0]) == 0 for mask in clip["mask"]])
  np.testing.assert_array_equal(other[outside], clip["frame"][outside])
  assert (other != clip["frame"]).any()
  assert (other != restorer(clip)).any()


def test_only_the_sampling_can_be_set(tiny_checkpoint):
  with pytest.raises(InputError, match=r"only sampling\.KEY=VALUE"):
    CropRestorer.from_checkpoint(tiny_checkpoint, ["data.window=3"])
  with pytest.raises(InputError, match="is not one of"):
    CropRestorer.from_checkpoint(tiny_checkpoint, ["sampling.sampler=euler"])


def test_nothing_occluded_costs_nothing(restorer, clip):
  class Unused:
    def __call__(self, *arguments):
      raise AssertionError("the network ran")

  idle = CropRestorer(restorer.config, {})
  idle._program = Unused()
  free = clip | {"mask": clip["mask"] * 0}
  np.testing.assert_array_equal(idle(free), clip["frame"])


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_change_only_the_feathered_mask(name, clip):
  restored = BASELINES[name](clip)
  for before, after, mask in zip(
    clip["frame"], restored, clip["mask"][..., 0], strict=True
  ):
    outside = feather(mask) == 0
    np.testing.assert_array_equal(before[outside], after[outside])


def test_past_frame_baseline_copies_the_past(clip):
  restored = BASELINES["past frame"](clip)
  i = int(clip["mask"].sum((1, 2, 3)).argmax())
  inside = clip["mask"][i, ..., 0] > 0
  np.testing.assert_array_equal(restored[i][inside], clip["past"][i][inside])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """A drawn clip as a lossless file, and its exact landmarks and hand."""
  path = tmp_path_factory.mktemp("video") / "source.mkv"
  info = VideoInfo(
    width=SIZE,
    height=SIZE,
    fps=Fraction(25),
    time_base=Fraction(1, 1000),
    has_audio=False,
  )
  images, landmarks = zip(*ProceduralVideo(1).frames(), strict=True)
  with VideoWriter(path, info, lossless=True) as writer:
    for i, image in enumerate(images):
      writer.write(TimedFrame(image, 40 * i))

  hand = np.zeros((SIZE, SIZE), np.uint8)
  hand[70:110, 60:95] = 1
  masks = [hand if 10 <= i < 18 else None for i in range(len(images))]
  records = prepare(
    file_clip(path),
    size=32,
    find_face=listed(landmarks),
    occlusion=RealOcclusion(detector=masked(masks)),
  )
  return path, list(records)


def stream_of(path, records):
  for timed, record in zip(read_frames(path), records, strict=True):
    yield SourceFrame(timed.image, timed.pts, record)


def test_decoded_lossless_output_is_exact_outside_the_mask(
  source, restorer, tmp_path
):
  path, frames = source
  out = tmp_path / "restored.mkv"
  outcome = restore_video(
    open_source(path),
    stream_of(path, frames),
    restorer,
    out,
    lossless=True,
  )
  assert outcome == Outcome(frames=len(frames), faces=len(frames), restored=8)
  before, after = list(read_frames(path)), list(read_frames(out))
  assert len(before) == len(after)
  assert probe(out).fps == probe(path).fps
  with av.open(out) as container:
    says = json.loads(container.metadata["COMMENT"])
  assert says["restored_by"].startswith("DiffMVR-JAX")
  assert says["stream"]["seed"] == 0 and says["sampling"]["steps"] == 3
  assert re.fullmatch("tiny, step 6, SHA-256 [0-9a-f]{64}", says["checkpoint"])
  for i, (old, new) in enumerate(zip(before, after, strict=True)):
    assert old.pts == new.pts
    assert old.image.shape == new.image.shape
    if not 10 <= i < 18:
      np.testing.assert_array_equal(old.image, new.image)
      continue
    # The mask, grown by more than the feather can reach, as frame pixels.
    alpha = feather(feather(frames[i].mask).astype(bool).astype(np.uint8))
    inverse = np.linalg.inv(np.vstack([frames[i].crop_transform, [0, 0, 1]]))
    near = crop.warp((alpha > 0).astype(np.float32), inverse[:2], SIZE) > 0
    np.testing.assert_array_equal(old.image[~near], new.image[~near])
    assert (old.image != new.image).any()


def test_arrays_are_restored_as_the_readme_says(tiny_checkpoint):
  """A face in the middle of every frame; a mask on two of them."""
  size = CropRestorer.from_checkpoint(tiny_checkpoint).config.data.image_size
  restorer = Restorer(
    CropRestorer.from_checkpoint(tiny_checkpoint), CentredRecipe(size=size)
  )
  frames = np.stack(drawn(3)[0][:6])
  masks = np.zeros(frames.shape[:3], bool)
  masks[2:4, 70:110, 60:95] = True
  restored = restorer(frames, masks)
  changed = (restored != frames).any((1, 2, 3))
  assert changed.tolist() == [False, False, True, True, False, False]
  at_once = StreamOptions(latency=0)
  streamed = list(restorer.stream(iter(frames), iter(masks), options=at_once))
  assert np.abs(np.stack(streamed).astype(int) - restored).max() <= 1
  with pytest.raises(InputError, match="do not fit frames"):
    restorer(frames, masks[:3])
  with pytest.raises(InputError, match="frame 3: has no mask"):
    list(restorer.stream(frames, masks[:3]))
  assert diffmvr_jax.Restorer is Restorer


def test_the_same_seed_gives_the_same_file(source, restorer, tmp_path):
  path, frames = source
  for name in ("a.mp4", "b.mp4"):
    restore_video(
      open_source(path), stream_of(path, frames), restorer, tmp_path / name
    )
  one, other = ((tmp_path / n).read_bytes() for n in ("a.mp4", "b.mp4"))
  assert one == other


def command(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "diffmvr_jax.restore", *map(str, arguments)],
    capture_output=True,
    text=True,
    check=False,
  )


def test_the_real_clip_is_restored(assets, tiny_checkpoint, tmp_path):
  path = assets / "clips" / "hand_over_face.mp4"
  out = tmp_path / "restored.mkv"
  models = ("--models", assets / "models")
  run = command(
    path, "--checkpoint", tiny_checkpoint, "--out", out, "--lossless", *models
  )
  assert run.returncode == 0, run.stderr
  before, after = list(read_frames(path)), list(read_frames(out))
  assert len(before) == len(after) == 58
  same = [
    (old.image == new.image).all()
    for old, new in zip(before, after, strict=True)
  ]
  # The hand is over the face at about frames 18 to 22 and 29 to 33.
  assert all(same[:16]) and all(same[44:])
  assert not any(same[19:22]) and not any(same[30:33])
  # Nothing below the face's crop is touched.
  for old, new in zip(before, after, strict=True):
    np.testing.assert_array_equal(old.image[500:], new.image[500:])


@pytest.mark.parametrize(
  "case", ["missing", "text", "no checkpoint", "no face"]
)
def test_bad_input_ends_in_one_line_and_code_2(
  case, assets, source, tiny_checkpoint, tmp_path
):
  video, checkpoint = source[0], tiny_checkpoint
  said = {
    "missing": "no such file",
    "text": "not a video",
    "no checkpoint": "no trained or imported model",
    "no face": "no face in any",
  }[case]
  if case == "missing":
    video = tmp_path / "nowhere.mp4"
  elif case == "text":
    video = tmp_path / "text.mp4"
    shutil.copy(__file__, video)
  elif case == "no checkpoint":
    checkpoint = tmp_path
  else:
    video = tmp_path / "grey.mp4"
    with VideoWriter(video, probe(source[0])) as writer:
      for i in range(3):
        grey = np.full((SIZE, SIZE, 3), 99, np.uint8)
        writer.write(TimedFrame(grey, 40 * i))
  out = tmp_path / "out.mp4"
  run = command(
    video,
    "--checkpoint",
    checkpoint,
    "--out",
    out,
    "--models",
    assets / "models",
  )
  assert run.returncode == 2, run.stderr
  assert run.stderr.strip().splitlines()[-1].startswith("error: ")
  assert said in run.stderr
  assert "Traceback" not in run.stderr
  assert not out.exists()
