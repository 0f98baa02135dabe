import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.dataset.export import export
from data_prep.dataset.finish import Splitting
from data_prep.dataset.splits import assign
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.prepare import (
  RealOcclusion,
  SkippedFrame,
  SyntheticOcclusion,
  prepare,
)
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from tests.data_prep.clips import (
  CentredRecipe,
  clip_of,
  drawn,
  listed,
  masked,
  write_video,
)

PASTED = SyntheticOcclusion(config=OcclusionConfig(), seed=0)
SMALL = ["--size", "32"]


def files(folder):
  return {
    str(p.relative_to(folder)): p.read_bytes()
    for p in folder.rglob("*")
    if p.is_file()
  }


def export_drawn(out, *options, names="procedural:0-3"):
  main(["export", names, "--out", str(out), *SMALL, *options])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp("export") / "whole"
  export_drawn(folder)
  return folder


def test_a_killed_export_resumes_to_the_same_bytes(tmp_path):
  names = "procedural:0-9"
  export_drawn(tmp_path / "whole", names=names)
  out = tmp_path / "out"
  arguments = ["export", names, "--out", str(out), *SMALL, "--workers", "2"]
  rng = np.random.default_rng(0)
  kills = 0
  while True:
    process = subprocess.Popen(
      [sys.executable, "-m", "data_prep", *arguments],
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      start_new_session=True,
    )
    if kills < 5:
      # Until there is something to lose; then at a random moment.
      while process.poll() is None and not list(out.glob("parts/*.partial")):
        time.sleep(0.005)
      time.sleep(rng.uniform(0, 0.3))
    if kills == 5 or process.poll() is not None:
      assert process.wait() == 0
      break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kills += 1
  assert kills >= 2
  assert files(out) == files(tmp_path / "whole")


def test_workers_and_shares_give_the_same_bytes(whole, tmp_path):
  export_drawn(tmp_path / "workers", "--workers", "3")
  assert files(tmp_path / "workers") == files(whole)
  for share in ("0/2", "1/2"):
    export_drawn(tmp_path / "shares", "--shard", share)
    assert not (tmp_path / "shares" / "manifest.json").exists()
  export_drawn(tmp_path / "shares")
  assert files(tmp_path / "shares") == files(whole)


def test_a_finished_export_is_left_alone(whole, capsys):
  before = files(whole)
  export_drawn(whole)
  assert "already exported" in capsys.readouterr().out
  assert files(whole) == before
  with pytest.raises(InputError, match="other settings"):
    export_drawn(whole, "--seed", "1")


def test_an_unfinished_export_refuses_other_settings(tmp_path):
  export_drawn(tmp_path, "--shard", "0/2")
  with pytest.raises(InputError, match="other settings"):
    export_drawn(tmp_path, "--shard", "1/2", "--paste", "box")


def test_the_manifest_accounts_for_every_frame(whole):
  manifest = json.loads((whole / "manifest.json").read_text())
  assert [v["video_id"] for v in manifest["videos"]] == [
    f"procedural_{i:05d}" for i in range(4)
  ]
  for video in manifest["videos"]:
    assert video["frames"] == video["exported"] == 36
    assert video["skipped"] == [] and video["fps"] == "25"
    assert 0 < video["occluded"] < 36
    assert 0 < video["occlusion"] < 1
    assert video["past_valid"] == video["occluded"]
  assert sum(manifest["frames"].values()) == 4 * 36


def test_splits_are_by_video(tiny_data):
  train = {v for v, _ in RecordSource(tiny_data, "train").videos()}
  test = {v for v, _ in RecordSource(tiny_data, "test").videos()}
  assert len(train) == 4 and len(test) == 1
  assert not train & test


def test_a_subject_is_in_one_split(tmp_path):
  table = tmp_path / "subjects.csv"
  table.write_text(
    "video,subject,split\n"
    "procedural_00000.mp4,Ann,\nprocedural_00001,Ann,\n"
    "procedural_00002,Bo,validation\nprocedural_00003,Cy,\n"
  )
  export_drawn(tmp_path / "out", "--subjects", str(table))
  split_of = {
    video: split
    for split in ("train", "validation", "test")
    for video, _ in RecordSource(tmp_path / "out", split).videos()
  }
  assert split_of["procedural_00000"] == split_of["procedural_00001"]
  assert split_of["procedural_00002"] == "validation"
  assert set(split_of.values()) == {"train", "validation", "test"}


def test_a_video_keeps_its_split_order_when_others_join():
  def held_out(count):
    videos = [f"v{i}" for i in range(count)]
    shares = {"validation_share": 0.1, "test_share": 0.2, "seed": 3}
    splits = assign(videos, {}, **shares)
    return {v for v, split in splits.items() if split == "test"}

  assert len(held_out(10)) == 2 and len(held_out(20)) == 4
  assert held_out(10) <= held_out(20) | {f"v{i}" for i in range(10)}
  assert held_out(20) != {f"v{i}" for i in range(4)}


def test_targets_equal_frames_outside_the_hand(tiny_data):
  records = RecordSource(tiny_data, "train")
  seen = 0
  for i in range(0, len(records), 3):
    record = records[i]
    difference = np.abs(record.image.astype(int) - record.target).max(-1)
    # The mask is wider than the hand; beyond it only JPEG's blocks differ.
    assert difference[record.mask == 0].mean() < 4
    if record.mask.any():
      seen += difference[record.mask == 1].mean() > 10
  assert seen > 3


def test_frame_rates_and_times_stay_exact(tmp_path):
  images, _ = drawn()
  ntsc = write_video(
    tmp_path / "ntsc.mp4", images[:12], fps=Fraction(30000, 1001)
  )
  times = [0, 40, 80, 200, 240, 500, 510, 600]
  variable = write_video(tmp_path / "vfr.mkv", images[:8], times=times)
  recipe = CentredRecipe(size=32, paste=OcclusionConfig())
  export(
    [str(ntsc), str(variable)],
    tmp_path / "out",
    recipe,
    Splitting(test_share=0.0),
  )
  source = RecordSource(tmp_path / "out", "train")
  records = [source[i] for i in range(len(source))]
  assert records[0].fps == Fraction(30000, 1001)
  exact = [Fraction(1001 * i, 30000) for i in range(12)]
  assert [r.time for r in records if r.video_id == "ntsc"] == exact
  milliseconds = [Fraction(t, 1000) for t in times]
  assert [r.time for r in records if r.video_id == "vfr"] == milliseconds


def test_data_preparation_imports_no_jax():
  code = "import sys, data_prep.__main__; sys.exit('jax' in sys.modules)"
  assert (
    subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
  )


def test_frames_without_a_face_are_skipped_with_a_reason():
  images, landmarks = drawn()
  found = [*landmarks[:3], *([None] * 30), *landmarks[33:]]
  items = list(
    prepare(clip_of(images), size=32, find_face=listed(found), occlusion=PASTED)
  )
  assert len(items) == len(images)
  skipped = [i for i in items if isinstance(i, SkippedFrame)]
  assert [s.frame_index for s in skipped] == list(range(15, 21))
  assert "no face within 12 frames" in skipped[0].reason


def test_a_clip_that_is_always_occluded_has_no_past_frame():
  images, landmarks = drawn()
  everything = [np.ones((160, 160), np.uint8)] * len(images)
  records = list(
    prepare(
      clip_of(images),
      size=32,
      find_face=listed(landmarks),
      occlusion=RealOcclusion(detector=masked(everything)),
    )
  )
  assert all(record.past_index == -1 for record in records)
  assert not any(record.symmetric_valid for record in records)
  assert all(record.symmetric_mask.all() for record in records)


def test_a_hand_beside_the_face_is_no_occlusion():
  images, landmarks = drawn()
  corner = np.zeros((160, 160), np.uint8)
  corner[:20, :20] = 1
  records = prepare(
    clip_of(images),
    size=32,
    find_face=listed(landmarks),
    occlusion=RealOcclusion(detector=masked([corner] * len(images))),
  )
  assert not any(record.mask.any() for record in records)


def test_a_hand_beside_the_face_is_no_background():
  images, landmarks = drawn()
  corner = np.zeros((160, 160), np.uint8)
  corner[:40, :40] = 1
  covered = [
    np.where(corner[..., None] > 0, np.uint8([250, 0, 0]), image)
    for image in images
  ]
  records = list(
    prepare(
      clip_of([images[0], *covered[1:]]),
      size=32,
      find_face=listed(landmarks),
      occlusion=RealOcclusion(
        detector=masked([None, *[corner] * (len(images) - 1)])
      ),
    )
  )
  red = [
    (record.image[..., 0] > 200) & (record.image[..., 1] < 20)
    for record in records
  ]
  assert all(r.any() for r in red[1:])
  for record, hidden in zip(records[1:], red[1:], strict=True):
    assert not record.mask.any()
    sure = record.propagated_confidence
    assert (sure[hidden] < 255).all() and sure.max() == 255
    assert record.propagated[hidden][:, 1].mean() > 25


def test_the_past_frame_is_the_latest_free_one_before():
  images, landmarks = drawn()
  hand = np.zeros((160, 160), np.uint8)
  hand[70:110, 60:95] = 1
  masks = [hand if 10 <= i < 14 else None for i in range(len(images))]
  records = list(
    prepare(
      clip_of(images),
      size=64,
      find_face=listed(landmarks),
      occlusion=RealOcclusion(detector=masked(masks)),
    )
  )
  assert [records[i].past_index for i in range(10, 15)] == [9] * 5
  assert all(r.past_index < r.frame_index for r in records)


def test_videos_of_one_origin_share_their_split():
  splitting = Splitting(test_share=0.5)
  names = [f"{person}{clip}" for person in "abcdef" for clip in ("", "@1")]
  digests = {name: name[0] for name in names}
  split_of = splitting.of(names, digests)
  assert set(split_of.values()) == {"train", "test"}
  for name in names:
    assert split_of[name] == split_of[name[0]]
  # Without further clips, nothing changes.
  alone = splitting.of(list("abcdef"))
  assert {n: s for n, s in split_of.items() if len(n) == 1} == alone
