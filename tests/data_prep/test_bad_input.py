"""Everything that a lab's footage folder has been seen to hold.

Each case makes one bad video beside a good one, or one bad setting. A bad
video costs itself: one line names it, the good one is exported, nothing is
left half-written, and the code is 1. A bad setting ends in one line and code
2 before anything is written.
"""

import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from itertools import count

import av
import cv2
import numpy as np
import pytest

from data_prep import models
from data_prep.__main__ import main
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.video import read_frames
from tests.data_prep.clips import CentredRecipe, drawn, write_video

IMAGES = drawn(0)[0][:10]
LOSSLESS = {"codec": "ffv1", "pixels": "bgr0"}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
  """A clip that is fine, and its bytes are copied by many cases."""
  path = tmp_path_factory.mktemp("good") / "good.mp4"
  return write_video(path, IMAGES)


@pytest.fixture
def videos(good, tmp_path):
  folder = tmp_path / "videos"
  folder.mkdir()
  shutil.copy(good, folder / "good.mp4")
  return folder


@pytest.fixture(autouse=True)
def without_models(monkeypatch, tmp_path):
  """The face is found without MediaPipe, unless a case asks for a detector."""
  monkeypatch.setattr(
    "data_prep.__main__.Recipe",
    lambda **settings: CentredRecipe(
      **settings
      | ({"face": "centred"} if settings["face"] == "mediapipe" else {})
    ),
  )
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.delenv("DIFFMVR_MODELS", raising=False)


def run(folder, out, *options):
  """Exports; returns the exit code."""
  try:
    defaults = ("--out", str(out), "--size", "16", "--test-share", "0")
    main(["export", str(folder), *defaults, *map(str, options)])
  except SystemExit as stop:
    return stop.code
  return 0


def exported(out):
  return {video for video, _ in RecordSource(out, "train").videos()}


def half_written(out):
  return [p for p in out.rglob("*") if "partial" in p.name or p.is_dir()]


# --- Videos that cannot be used -------------------------------------------


def zero_bytes(folder, good):
  (folder / "bad.mp4").touch()


def text(folder, good):
  (folder / "bad.mp4").write_text("not a video\n" * 100)


def noise(folder, good):
  rng = np.random.default_rng(0)
  (folder / "bad.avi").write_bytes(rng.bytes(50_000))


def header_only(folder, good):
  (folder / "bad.mp4").write_bytes(good.read_bytes()[:40])


def cut_mp4(folder, good):
  data = good.read_bytes()
  (folder / "bad.mp4").write_bytes(data[: len(data) // 2])


def cut_mkv(folder, good):
  path = write_video(folder / "bad.mkv", drawn(0)[0], **LOSSLESS)
  data = path.read_bytes()
  path.write_bytes(data[: len(data) * 2 // 3])


def cut_mov(folder, good):
  path = write_video(
    folder / "bad.mov",
    drawn(0)[0],
    codec="mjpeg",
    pixels="yuvj420p",
  )
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])


def audio_only(folder, good):
  with av.open(str(folder / "bad.mp4"), "w") as output:
    stream = output.add_stream("aac", rate=16000)
    frame = av.AudioFrame.from_ndarray(
      np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
    )
    frame.sample_rate = 16000
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def wide_and_flat(folder, good):
  flat = [np.zeros((10, 8000, 3), np.uint8)] * 2
  write_video(folder / "bad.mkv", flat, **LOSSLESS)


def tiny(folder, good):
  write_video(folder / "bad.mkv", [np.zeros((8, 8, 3), np.uint8)], **LOSSLESS)


def broken_link(folder, good):
  (folder / "bad.mp4").symlink_to(folder / "gone.mp4")


def folder_named_like_a_video(folder, good):
  (folder / "bad.mp4").mkdir()


def endless_name(folder, good):
  shutil.copy(good, folder / f"bad{'d' * 230}.mp4")


def two_of_one_name(folder, good):
  write_video(folder / "good.mkv", IMAGES)


def png_as_mp4(folder, good):
  cv2.imwrite(str(folder / "bad.png"), IMAGES[0])
  data = (folder / "bad.png").read_bytes()
  (folder / "bad.mp4").write_bytes(data[:200])


def wiped_middle(folder, good):
  path = write_video(folder / "bad.mkv", drawn(0)[0], **LOSSLESS)
  data = bytearray(path.read_bytes())
  third = len(data) // 3
  data[third : 2 * third] = bytes(third)
  path.write_bytes(bytes(data))


def subtitles_only(folder, good):
  (folder / "bad.mkv").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")


UNUSABLE = [
  (zero_bytes, "not a video"),
  (text, "not a video"),
  (noise, "not a video"),
  (header_only, "not a video"),
  (cut_mp4, "not a video"),
  (cut_mkv, "after"),
  (cut_mov, "not a video"),
  (audio_only, "no video stream"),
  (wide_and_flat, "no face in any of its 2 frames"),
  (tiny, "no face in any of its 1 frames"),
  (broken_link, "no such file"),
  (folder_named_like_a_video, "no such file"),
  (endless_name, "too long"),
  (two_of_one_name, "has the same name"),
  (png_as_mp4, "no frame can be decoded"),
  (wiped_middle, "after"),
  (subtitles_only, "no video stream"),
]


@pytest.mark.parametrize(
  ("make", "said", "workers"),
  [
    *((make, said, 1) for make, said in UNUSABLE),
    (zero_bytes, "not a video", 2),
    (cut_mkv, "after", 2),
  ],
  ids=lambda v: getattr(v, "__name__", str(v) if isinstance(v, int) else ""),
)
def test_a_bad_video_costs_itself_alone(
  make, said, workers, videos, good, tmp_path, capsys
):
  make(videos, good)
  out = tmp_path / "out"
  code = run(videos, out, "--workers", workers)
  assert code == 1
  lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
  failed = [line for line in lines if line.startswith("failed: ")]
  assert len(failed) == 1 and said in failed[0]
  assert "bad" in failed[0] or make is two_of_one_name
  assert not any("Traceback" in line for line in lines)
  assert exported(out) == {"good"}
  assert not half_written(out)


# --- Videos that are odd, and fine ----------------------------------------


def rotate(path):
  """Turns a video by its container's display matrix."""
  data = bytearray(path.read_bytes())
  matrix = data.index(b"tkhd") + 4 + 40
  one, quarter = 0x10000, [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
  assert int.from_bytes(data[matrix : matrix + 4], "big") == one
  for i, value in enumerate(quarter):
    where = matrix + 4 * i
    data[where : where + 4] = value.to_bytes(4, "big", signed=True)
  path.write_bytes(bytes(data))


def audio_that_is_longer(path):
  with av.open(str(path), "w") as output:
    video = output.add_stream("libx264", rate=25)
    video.height, video.width = IMAGES[0].shape[:2]
    video.pix_fmt = "yuv420p"
    audio = output.add_stream("aac", rate=16000)
    for image in IMAGES:
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      output.mux(video.encode(frame))
    output.mux(video.encode(None))
    for i in range(60):
      sound = av.AudioFrame.from_ndarray(
        np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
      )
      sound.sample_rate, sound.pts = 16000, 1024 * i
      output.mux(audio.encode(sound))
    output.mux(audio.encode(None))


def with_(suffix, images=IMAGES, **options):
  def make(folder):
    return write_video(folder / f"odd{suffix}", images, **options)

  return make


def named(name):
  return lambda folder: write_video(folder / name, IMAGES)


def cropped(height, width):
  return [np.ascontiguousarray(image[:height, :width]) for image in IMAGES[:3]]


ODD = {
  "one frame": with_(".mp4", IMAGES[:1]),
  "two frames": with_(".mp4", IMAGES[:2]),
  "10 bit": with_(".mkv", codec="libx265", pixels="yuv420p10le"),
  "10 bit lossless": with_(".mkv", codec="ffv1", pixels="yuv444p10le"),
  "grey": with_(".mkv", codec="ffv1", pixels="gray"),
  "16 bit grey": with_(".mkv", codec="ffv1", pixels="gray16le"),
  "full range": with_(".mp4", pixels="yuvj420p"),
  "with alpha": with_(".mkv", codec="ffv1", pixels="bgra"),
  "gif": with_(".gif", codec="gif", pixels="rgb8"),
  "mpeg4 avi": with_(".avi", codec="mpeg4"),
  "mjpeg": with_(".mov", codec="mjpeg", pixels="yuvj420p"),
  "mpeg2 ts": with_(".ts", codec="mpeg2video"),
  "flv": with_(".flv", codec="flv"),
  "vp9": with_(".webm", codec="libvpx-vp9", options={"cpu-used": "8"}),
  "variable rate": with_(
    ".mkv", times=[0, 40, 80, 200, 240, 500, 510, 600, 2000, 2040]
  ),
  "ntsc": with_(".mp4", fps=Fraction(30000, 1001)),
  "240 frames/s": with_(".mp4", fps=240),
  "1 frame/s": with_(".mp4", fps=1),
  "odd size": with_(".mkv", cropped(77, 51), **LOSSLESS),
  "portrait": with_(".mkv", cropped(160, 40), **LOSSLESS),
  "landscape": with_(".mkv", cropped(40, 160), **LOSSLESS),
  "no timestamps": with_(".ts", container="h264"),
  "rotated": lambda folder: rotate(write_video(folder / "odd.mp4", IMAGES)),
  "longer audio": lambda folder: audio_that_is_longer(folder / "odd.mp4"),
  "unicode": named("Größe 漢字 🙂.mp4"),
  "spaces and quotes": named('it\'s a "clip" .mp4'),
  "dots": named("a.b.c.mp4"),
  "a leading dash": named("-odd.mp4"),
  "capitals": named("ODD.MP4"),
  "percent and hash": named("100%#1.mp4"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_video_is_fine(case, videos, tmp_path):
  ODD[case](videos)
  out = tmp_path / "out"
  assert run(videos, out) == 0
  source = RecordSource(out, "train")
  ids = {video for video, _ in source.videos()}
  assert len(ids) == 2 and "good" in ids
  (odd,) = ids - {"good"}
  records = [source[i] for i in range(len(source))]
  records = [r for r in records if r.video_id == odd]
  assert [r.frame_index for r in records] == list(range(len(records)))
  times = [record.time for record in records]
  assert times == sorted(set(times))
  assert not half_written(out)


def test_rotation_turns_the_picture(tmp_path):
  path = tmp_path / "wide.mp4"
  write_video(path, [image[:80] for image in IMAGES])
  before = next(read_frames(path)).image
  rotate(path)
  after = next(read_frames(path)).image
  assert before.shape == (80, 160, 3) and after.shape == (160, 80, 3)
  np.testing.assert_array_equal(after, np.rot90(before, -1))


# --- Masks of the user ----------------------------------------------------


def folder_of_masks(path, number, shape=(160, 160), name="{:03d}.png"):
  path.mkdir(parents=True)
  for i in range(number):
    cv2.imwrite(str(path / name.format(i)), np.full(shape, 255, np.uint8))


def one_short(folder):
  folder_of_masks(folder / "good", 9)


def one_too_many(folder):
  folder_of_masks(folder / "good", 11)


def short_video(folder):
  write_video(folder / "good.mp4", IMAGES[:9])


def wrong_size(folder):
  folder_of_masks(folder / "good", 10, shape=(160, 150))


def wrong_size_later(folder):
  folder_of_masks(folder / "good", 10)
  cv2.imwrite(str(folder / "good" / "006.png"), np.zeros((9, 9), np.uint8))


def single_of_wrong_size(folder):
  cv2.imwrite(str(folder / "good.png"), np.zeros((9, 9), np.uint8))


def other_rate(folder):
  write_video(folder / "good.mp4", IMAGES, fps=30)


def unreadable(folder):
  folder_of_masks(folder / "good", 10)
  (folder / "good" / "004.png").write_text("no picture")


def empty(folder):
  (folder / "good").mkdir()


def of_another_video(folder):
  folder_of_masks(folder / "other", 10)


def ambiguous(folder):
  folder_of_masks(folder / "good", 10)
  cv2.imwrite(str(folder / "good.png"), np.zeros((160, 160), np.uint8))


def cut_video(folder):
  path = write_video(folder / "good.mkv", IMAGES, **LOSSLESS)
  path.write_bytes(path.read_bytes()[:-9000])


def text_for_a_video(folder):
  (folder / "good.mp4").write_text("masks")


BAD_MASKS = [
  (one_short, "9 masks, but .* has 10 frames"),
  (one_too_many, "11 masks, but .* has 10 frames"),
  (short_video, "9 masks, but .* has 10 frames"),
  (wrong_size, "frame 0: the mask has 150×160 pixels, the video 160×160"),
  (wrong_size_later, "frame 6: the mask has 9×9 pixels"),
  (single_of_wrong_size, "frame 0: the mask has 9×9 pixels"),
  (other_rate, "30 frames/s, .* has 25; are these its masks"),
  (unreadable, "004.png: not an image"),
  (empty, "0 masks, but"),
  (of_another_video, "no masks for good.mp4"),
  (ambiguous, "several masks for good.mp4: good, good.png"),
  (cut_video, "masks, but|after"),
  (text_for_a_video, "not a video"),
]


@pytest.mark.parametrize(
  ("make", "said"), BAD_MASKS, ids=lambda v: getattr(v, "__name__", "")
)
def test_bad_masks_cost_their_video_alone(make, said, videos, tmp_path, capsys):
  shutil.copy(videos / "good.mp4", videos / "fine.mp4")
  masks = tmp_path / "masks"
  folder_of_masks(masks / "fine", 10)
  make(masks)
  out = tmp_path / "out"
  options = ("--occlusion", "real", "--occluder", f"masks:{masks}")
  assert run(videos, out, *options) == 1
  (line,) = [
    line
    for line in capsys.readouterr().err.splitlines()
    if line.startswith("failed: ")
  ]
  assert "good" in line
  assert re.search(said, line), line
  assert exported(out) == {"fine"}
  assert not half_written(out)


@pytest.mark.parametrize("value", [0, 255])
def test_masks_of_nothing_and_of_everything_are_fine(value, videos, tmp_path):
  path = tmp_path / "mask.png"
  cv2.imwrite(str(path), np.full((160, 160), value, np.uint8))
  out = tmp_path / "out"
  options = ("--occlusion", "real", "--occluder", f"masks:{path}")
  assert run(videos, out, *options) == 0
  source = RecordSource(out, "train")
  masks = [source[i].mask for i in range(len(source))]
  assert all((mask == (value > 0)).all() for mask in masks)


# --- Settings -------------------------------------------------------------


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
  ("too small", options("--size", "8"), "--size 8: not in"),
  ("no training left", options("--test-share", "1"), "not in \\[0, 1\\)"),
  (
    "shares beyond 1",
    options("--test-share", ".6", "--validation-share", ".5"),
    "not in \\[0, 1\\)",
  ),
  ("unknown shape", options("--paste", "cat"), "--paste cat: expected one of"),
  ("ratio beyond 1", options("--occlusion-ratio", "2"), "not within"),
  (
    "descending seconds",
    options("--occlusion-seconds", "3-1"),
    "not ascending",
  ),
  ("no workers", options("--workers", "0"), "--workers 0"),
  (
    "no table",
    options("--subjects", "/nowhere.csv"),
    "/nowhere.csv: not a readable CSV",
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
def test_a_misspelt_share_is_refused(text, videos, tmp_path, capsys):
  assert run(videos, tmp_path / "out", f"--shard={text}") == 2
  assert "--shard" in capsys.readouterr().err


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
  zero_bytes(tmp_path, None)
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
    "m.Recipe = lambda **s: CentredRecipe(**s | {'face': 'centred'}); "
    "run_command(m.main)"
  )
  arguments = ["export", videos, "--out", out, "--size", "96"]
  command = [sys.executable, "-c", code, *map(str, arguments)]

  # A limit in the process itself would need a fork, which JAX's threads forbid.
  limited = ["bash", "-c", 'ulimit -f 195 && exec "$@"', "-", *command]
  full = subprocess.run(limited, capture_output=True, text=True, check=False)
  assert full.returncode == 2
  last = full.stderr.strip().splitlines()[-1]
  assert last.startswith("error: ") and "cannot be written" in last
  assert "run the command again" in last
  kept = {p.name for p in (out / "parts").iterdir()}
  assert "a small.tfrecord" in kept
  assert not any("partial" in name for name in kept)
  assert not (out / "manifest.json").exists()
  # With room again, the same command completes the export.
  again = subprocess.run(command, capture_output=True, text=True, check=False)
  assert again.returncode == 0, again.stderr
  assert len(exported(out)) == 2


# --- Where models are looked for ------------------------------------------


def test_models_are_looked_for_in_order(tmp_path, monkeypatch):
  named, environment, cache = (tmp_path / n for n in ("named", "env", "home"))
  content = count()
  known = {}
  for folder in (named, environment, cache / ".cache" / "diffmvr"):
    folder.mkdir(parents=True)
    path = folder / "face_landmarker.task"
    path.write_text(str(next(content)))
    known[path] = models.sha256(path)
  monkeypatch.setattr(models, "_KNOWN", {"face_landmarker": {*known.values()}})
  monkeypatch.setenv("DIFFMVR_MODELS", str(environment))
  assert models.model_path("face_landmarker", named).parent == named
  assert models.model_path("face_landmarker").parent == environment
  monkeypatch.delenv("DIFFMVR_MODELS")
  found = models.model_path("face_landmarker")
  assert found.parent == cache / ".cache" / "diffmvr"


def test_a_folder_in_the_environment_without_the_model(tmp_path, monkeypatch):
  monkeypatch.setenv("DIFFMVR_MODELS", str(tmp_path))
  with pytest.raises(InputError, match=r"no such file; put .* DIFFMVR_MODELS"):
    models.model_path("face_landmarker")


def test_offline_the_error_says_where_to_put_the_file(tmp_path, monkeypatch):
  monkeypatch.setattr(models, "_STORAGE", "http://127.0.0.1:9")
  with pytest.raises(InputError) as error:
    models.model_path("hand_landmarker")
  said = str(error.value)
  where = tmp_path / "home" / ".cache" / "diffmvr" / "hand_landmarker.task"
  assert str(where) in said and "--models" in said
  assert "127.0.0.1:9/hand_landmarker" in said


def test_a_download_is_checked(tmp_path, monkeypatch):
  (tmp_path / "face_landmarker" / "face_landmarker" / "float16" / "1").mkdir(
    parents=True
  )
  path = "face_landmarker/face_landmarker/float16/1/face_landmarker.task"
  (tmp_path / path).write_bytes(b"model")
  monkeypatch.setattr(models, "_STORAGE", tmp_path.as_uri())
  with pytest.raises(InputError, match="checksum"):
    models.model_path("face_landmarker")
  cache = tmp_path / "home" / ".cache" / "diffmvr"
  assert not cache.exists() or not os.listdir(cache)
  digest = models.sha256(tmp_path / path)
  monkeypatch.setattr(models, "_KNOWN", {"face_landmarker": {digest}})
  assert models.model_path("face_landmarker").read_bytes() == b"model"
  assert os.listdir(cache) == ["face_landmarker.task"]
