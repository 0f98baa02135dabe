"""Settings, sources and outputs that cannot be used."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from diffmvr_jax.errors import InputError
from tests.data_prep.bad_input.running import IMAGES, exported, run
from tests.data_prep.clips import drawn, write_video


def table(text):
  def make(folder):
    path = folder / "subjects.csv"
    path.write_text(text)
    return ("--subjects", path)

  return make


def weights(content):
  def make(folder):
    path = folder / "weights.pt"
    path.write_bytes(content)
    return ("--face", f"yolo:{path}")

  return make


def landmarker_of(content):
  def make(folder):
    (folder / "hand_landmarker.task").write_bytes(content)
    return ("--occlusion", "real", "--models", folder)

  return make


def sprites(content):
  def make(folder):
    (folder / "sprites").mkdir()
    if content is not None:
      picture = folder / "sprites" / "a.png"
      if isinstance(content, bytes):
        picture.write_bytes(content)
      else:
        cv2.imwrite(str(picture), content)
    return ("--paste", f"sprites:{folder / 'sprites'}")

  return make


def options(*values):
  return lambda folder: values


SETTINGS = [
  (
    "no --models folder",
    options("--occlusion", "real", "--models", "/nowhere"),
    "hand_landmarker.task: no such file",
  ),
  ("wrong model file", landmarker_of(b"something else"), "checksum"),
  ("empty model file", landmarker_of(b""), "checksum"),
  (
    "no weights",
    options("--face", "yolo:/nowhere/best.pt"),
    "best.pt: no such file",
  ),
  (
    "score beyond 1",
    options("--face", "yolo:/nowhere/best.pt#face@2"),
    "the score 2 is not within",
  ),
  ("weights of text", weights(b"not weights"), "Ultralytics refuses it"),
  ("empty weights", weights(b""), "Ultralytics refuses it"),
  (
    "truncated weights",
    weights(b"PK\x03\x04" + bytes(300)),
    "Ultralytics refuses it",
  ),
  ("unknown face detector", options("--face", "dlib"), "--face dlib: expected"),
  (
    "unknown occluder",
    options("--occlusion", "real", "--occluder", "sam"),
    "--occluder sam: expected",
  ),
  (
    "masks of nothing",
    options("--occlusion", "real", "--occluder", "masks:"),
    "expected mediapipe",
  ),
  (
    "no such masks",
    options("--occlusion", "real", "--occluder", "masks:/nowhere"),
    "/nowhere: no such file",
  ),
  ("too small", options("--size", "8"), "--size: 8 is not at least 16"),
  ("no training left", options("--test-share", "1"), "1.0 is not at least 0"),
  (
    "shares beyond 1",
    options("--test-share", ".6", "--validation-share", ".5"),
    "not in \\[0, 1\\)",
  ),
  ("unknown shape", options("--paste", "cat"), "--paste cat: expected one of"),
  ("ratio beyond 1", options("--occlusion-ratio", "2"), "2.0 is not above 0"),
  (
    "descending seconds",
    options("--occlusion-seconds", "3-1"),
    "is not ascending",
  ),
  ("no workers", options("--workers", "0"), "--workers: 0 is not at least 1"),
  (
    "no table",
    options("--subjects", "/nowhere.csv"),
    "/nowhere.csv: no such file",
  ),
  (
    "table without columns",
    table("a,b\n1,2\n"),
    "subjects.csv:2: needs the columns",
  ),
  (
    "unknown split",
    table("video,subject,split\nx,A,dev\n"),
    "split 'dev' is none of",
  ),
  (
    "subject in two splits",
    table("video,subject,split\nx,A,test\ny,A,train\n"),
    "A is in another split",
  ),
  ("no sprites", sprites(None), "no .png or .webp"),
  ("sprite of text", sprites(b"no picture"), "a.png: not a picture"),
  (
    "sprite without alpha",
    sprites(np.zeros((9, 9, 3), np.uint8)),
    "no alpha channel",
  ),
]


@pytest.mark.parametrize(
  ("make", "said"),
  [pytest.param(make, said, id=name) for name, make, said in SETTINGS],
)
def test_a_bad_setting_is_refused_first(make, said, videos, tmp_path):
  out = tmp_path / "out"
  with pytest.raises(InputError, match=said) as error:
    run(videos, out, *make(tmp_path))
  assert "\n" not in str(error.value)
  assert not out.exists()


@pytest.mark.parametrize("text", ["3/2", "2/2", "-1/2", "a/b", "1"])
def test_a_misspelt_share_is_refused(text, videos, tmp_path):
  with pytest.raises(InputError, match="argument --shard"):
    run(videos, tmp_path / "out", f"--shard={text}")


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("nowhere.mp4", "no such file"),
    ("empty", "no video in this folder"),
    ("procedural:x", "expected procedural:SEED"),
  ],
)
def test_sources_that_are_not_there(name, said, tmp_path):
  (tmp_path / "empty").mkdir()
  where = name if name.startswith("procedural") else tmp_path / name
  with pytest.raises(InputError, match=said):
    run(where, tmp_path / "out")


def test_drawn_clips_have_no_real_occlusion(tmp_path, capsys):
  with pytest.raises(InputError, match="none of the 1 videos"):
    run("procedural:1", tmp_path / "out", "--occlusion", "real")
  assert "only synthetic occlusion" in capsys.readouterr().err


def test_no_video_can_be_used(tmp_path):
  (tmp_path / "bad.mp4").touch()
  with pytest.raises(InputError, match="none of the 1 videos could be used"):
    run(tmp_path, tmp_path / "out")


def test_the_output_is_a_file(videos, tmp_path):
  (tmp_path / "out").write_text("mine")
  with pytest.raises(InputError, match="out: is a file"):
    run(videos, tmp_path / "out")
  assert (tmp_path / "out").read_text() == "mine"


def test_a_damaged_manifest(videos, tmp_path):
  out = tmp_path / "out"
  run(videos, out)
  (out / "manifest.json").write_text("{")
  with pytest.raises(InputError, match=r"manifest\.json: damaged"):
    run(videos, out)


def test_a_full_disk_loses_nothing(good, tmp_path):
  """A limit on the size of files stands for the disk that is full."""
  videos = tmp_path / "videos"
  videos.mkdir()
  write_video(videos / "a small.mp4", IMAGES[:2])
  for i in range(2):
    write_video(videos / f"large {i}.mp4", drawn(i)[0] * 3)
  out = tmp_path / "out"
  code = (
    "import sys; from tests.data_prep.clips import CentredRecipe; "
    "import data_prep.__main__ as m; from diffmvr_jax.errors import *; "
    "import data_prep.recipe_options as o; "
    "o.Recipe = lambda **s: CentredRecipe(**s | {'face': 'centred'}); "
    "run_command(m.main)"
  )
  arguments = ["export", videos, "--out", out, "--size", "96"]
  command = [sys.executable, "-c", code, *map(str, arguments)]

  # A limit in the process itself would need a fork, which JAX's threads forbid.
  limited = ["bash", "-c", 'ulimit -f 195 && exec "$@"', "-", *command]
  full = subprocess.run(limited, capture_output=True, text=True, check=False)
  assert full.returncode == 2
  last = full.stderr.strip().splitlines()[-1]
  assert last.startswith("error: ") and "File too large; the place" in last
  assert last.endswith("finished videos are kept")
  kept = {p.name for p in (out / "parts").iterdir()}
  assert "a small.tfrecord" in kept
  assert not any("partial" in name for name in kept)
  assert not (out / "manifest.json").exists()
  # With room again, the same command completes the export.
  again = subprocess.run(command, capture_output=True, text=True, check=False)
  assert again.returncode == 0, again.stderr
  assert len(exported(out)) == 2
