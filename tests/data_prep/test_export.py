import subprocess
import sys

import numpy as np
import pytest

from data_prep import sources
from data_prep.__main__ import main
from data_prep.prepare import prepare
from data_prep.procedural import ProceduralVideo
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError


def files(folder):
  return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def command(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "data_prep", *map(str, arguments)],
    capture_output=True,
    text=True,
    check=False,
  )


def test_a_killed_export_resumes_to_the_same_bytes(tmp_path):
  whole, resumed = tmp_path / "whole", tmp_path / "resumed"
  options = ["--size", "32"]
  main(["export", "procedural:0-3", "--out", str(whole), *options])
  # What a kill leaves: some parts, and one that was being written.
  parts = resumed / "parts"
  main(["export", "procedural:0-3", "--out", str(resumed), *options])
  (resumed / "manifest.json").unlink()
  parts.mkdir()
  (parts / "procedural_00002.tfrecord.partial").write_bytes(b"half")
  main(["export", "procedural:0-3", "--out", str(resumed), *options])
  assert files(whole) == files(resumed)


def test_a_finished_export_is_left_alone(tmp_path, capsys):
  arguments = ["export", "procedural:0-1", "--out", str(tmp_path), "--size"]
  main([*arguments, "32"])
  before = files(tmp_path)
  main([*arguments, "32"])
  assert "already exported" in capsys.readouterr().out
  assert files(tmp_path) == before
  with pytest.raises(InputError, match="other settings"):
    main([*arguments, "48"])


def test_splits_are_by_video(tiny_data):
  train = {v for v, _ in RecordSource(tiny_data, "train").videos()}
  test = {v for v, _ in RecordSource(tiny_data, "test").videos()}
  assert len(train) == 4 and len(test) == 1
  assert not train & test


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


def test_data_preparation_imports_no_jax():
  code = "import sys, data_prep.__main__; sys.exit('jax' in sys.modules)"
  assert (
    subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
  )


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("nowhere.mp4", "no such file"),
    ("empty", "no video in this folder"),
    ("procedural:x", "expected procedural:SEED"),
  ],
)
def test_bad_sources_end_in_one_line_and_code_2(tmp_path, name, said, assets):
  (tmp_path / "empty").mkdir()
  where = name if name.startswith("procedural") else tmp_path / name
  run = command(
    "export", where, "--out", tmp_path / "out", "--models", assets / "models"
  )
  assert run.returncode == 2
  last = run.stderr.strip().splitlines()[-1]
  assert last.startswith("error: ") and said in last
  assert "Traceback" not in run.stderr


def clip_of(landmarks, images):
  return sources.Clip(
    video_id="clip",
    path="clip.mp4",
    digest="",
    fps=25.0,
    images=lambda: iter(images),
    landmarks=lambda: iter(landmarks),
  )


def test_a_clip_without_a_face_is_refused():
  images = [np.zeros((32, 32, 3), np.uint8)] * 3
  with pytest.raises(InputError, match="no face in any of its 3 frames"):
    list(prepare(clip_of([None] * 3, images), size=32, seed=0))


def test_a_clip_that_is_always_occluded_is_refused():
  images, landmarks = zip(*ProceduralVideo(0).frames(), strict=True)

  def everything(image):
    return np.ones(image.shape[:2], np.uint8)

  prepared = prepare(
    clip_of(landmarks, images), size=32, find_occluder=everything
  )
  with pytest.raises(InputError, match="every frame is occluded"):
    list(prepared)


def test_a_hand_beside_the_face_is_no_occlusion():
  images, landmarks = zip(*ProceduralVideo(0).frames(), strict=True)

  def corner(image):
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[:20, :20] = 1
    return mask

  records = prepare(clip_of(landmarks, images), size=32, find_occluder=corner)
  assert not any(record.mask.any() for record in records)
