"""Disks that are full, read-only, or take no large files.

A limit on the size of files stands for a disk's; it works everywhere. Where the
tests may mount a file system, a small one is filled, and one is read-only.
"""

import contextlib
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_prep.faces.flow_prior import FlowPrior
from diffmvr_jax.checkpoints.model_file import write_model_file
from diffmvr_jax.config import load_config
from diffmvr_jax.data.latent_cache import EncodedWriter
from diffmvr_jax.files import replacing, write_atomically, writing
from diffmvr_jax.weights.files import write_safetensors
from tests.conftest import TINY
from tests.hostile import made
from tests.hostile.made import cleared
from tests.hostile.running import content, ended


@contextlib.contextmanager
def file_limit(size):
  """No file may grow beyond so many bytes meanwhile."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def limited(main, arguments, size):
  with file_limit(size):
    return ended(main, arguments)


def one_line(how, *said):
  assert how.code == 2, how.lines
  (line,) = how.lines
  assert line.startswith("error: "), line
  for text in said:
    assert text in line, line


PREVIEWS = {
  "video": [],
  "lossless": ["--lossless"],
  "mask": ["--mask-out", "{folder}/more.mkv"],
  "side by side": ["--side-by-side", "{folder}/more.mkv"],
  "confidence": ["--confidence", "{folder}/more.mkv"],
}


@pytest.mark.parametrize("name", PREVIEWS)
@pytest.mark.parametrize("out", ["out.mkv", "out.mp4", "out"])
def test_a_file_limit_ends_a_restoration(name, out, tmp_path):
  made.plain(tmp_path)
  before = content(tmp_path)
  arguments = cleared(
    "{folder}/clip.mkv", *PREVIEWS[name], out=f"{{folder}}/{out}"
  )
  arguments = [a.replace("{folder}", str(tmp_path)) for a in arguments]
  one_line(
    limited(made.restored, arguments, 2000), "File too large", tmp_path.name
  )
  assert content(tmp_path) == before


def test_a_later_preview_that_fails_takes_the_video_along(tmp_path):
  """The array of the confidence grows beyond a limit that the video keeps."""
  made.plain(tmp_path)
  before = content(tmp_path)
  arguments = cleared(
    *("{folder}/clip.mkv", "--confidence", "{folder}/more"),
    out="{folder}/out.mp4",
  )
  arguments = [a.replace("{folder}", str(tmp_path)) for a in arguments]
  how = limited(made.restored, arguments, 1500)
  one_line(how, "File too large")
  assert content(tmp_path) == before


def test_what_was_there_stays(tmp_path):
  made.plain(tmp_path)
  (tmp_path / "out.mkv").write_bytes(b"mine")
  before = content(tmp_path)
  arguments = [a.format(folder=tmp_path) for a in cleared("{folder}/clip.mkv")]
  one_line(limited(made.restored, arguments, 2000), "out.mkv: File too large")
  assert content(tmp_path) == before


def write_model(path):
  params = {"fusion": {"kernel": np.ones((99, 99), np.float32)}}
  write_model_file(path, load_config(TINY), params, 1, {})


def write_weights(path):
  array = np.ones(9999, np.float32)
  write_safetensors(path, {"a": (9999,)}, [("a", array)])


def write_prior(path):
  components = np.ones((9, 8, 8, 2), np.float32)
  FlowPrior(components=components, variances=np.ones(9, np.float32)).save(path)


def write_picture(path):
  with writing(path), replacing(path, keeps_suffix=True) as partial:
    noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)
    Image.fromarray(noise).save(partial)


def write_rows(path):
  with EncodedWriter(path) as writer:
    writer.write("mean", 0, np.ones((4, 99), np.float16), total=99)


WRITERS = {
  "text": ("a.txt", lambda path: write_atomically(path, "x" * 9999)),
  "model": ("a.safetensors", write_model),
  "weights": ("a.safetensors", write_weights),
  "prior": ("a.safetensors", write_prior),
  "picture": ("a.png", write_picture),
  "rows": ("rows", write_rows),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("there", [True, False], ids=["over another", "anew"])
def test_a_file_limit_ends_a_writer(name, there, tmp_path):
  file, write = WRITERS[name]
  if there and file != "rows":
    (tmp_path / file).write_bytes(b"mine")
  before = content(tmp_path)
  how = limited(lambda argv: write(tmp_path / file), [], 1000)
  one_line(how, file, "File too large", "choose another one")
  assert content(tmp_path) == before


def test_a_file_limit_ends_an_export(tmp_path):
  videos = tmp_path / "videos"
  videos.mkdir()
  made.clip(videos / "a.mkv")
  before = content(videos)
  arguments = ["export", videos, "--out", tmp_path / "data", "--size", "96"]
  how = limited(made.prepared, arguments, 9000)
  one_line(how, "File too large; the place", "finished videos are kept")
  assert content(videos) == before
  assert set(content(tmp_path / "data")) == {"parts", "parts/settings.json"}
  again = ended(made.prepared, arguments)
  assert again.code == 0, again.lines
  assert (tmp_path / "data" / "manifest.json").is_file()


def test_a_file_limit_ends_an_annotation(tmp_path):
  videos = tmp_path / "videos"
  videos.mkdir()
  made.clip(videos / "a.mkv")
  arguments = ["annotate", videos, "--out", tmp_path / "data", "--every", "1"]
  one_line(limited(made.prepared, arguments, 700), "File too large", ".jpg")
  kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
  assert not kept


@pytest.mark.parametrize(
  ("out", "said"),
  [
    ("clip.mkv/out.mkv", "a part of this path is a file"),
    ("clip.mkv/out", "a part of this path is a file"),
    ("clip.mkv/a/b/out.mkv", "a part of this path is a file"),
    ("folder.mkv", "Is a directory|not empty"),
    ("x" * 300 + ".mkv", "File name too long; choose a shorter name"),
    ("full", "exists; name a new folder, or empty it"),
    ("out.xyz", "unknown kind of video file"),
    ("out.wav", "a .wav file holds no libx264 video|FFmpeg cannot encode"),
    ("out.gif", "a .gif file holds no libx264 video|FFmpeg cannot encode"),
    ("out.png", "a .png file holds no libx264 video|FFmpeg cannot encode"),
    ("/proc/out.mkv", "/proc/out.mkv: "),
    ("/sys/out.mkv", "/sys/out.mkv: "),
    ("/dev/null/out.mkv", "a part of this path is a file"),
  ],
)
def test_a_place_that_cannot_be_written(out, said, tmp_path):
  made.plain(tmp_path)
  (tmp_path / "folder.mkv").mkdir()
  (tmp_path / "folder.mkv" / "a").touch()
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "a").touch()
  before = content(tmp_path)
  arguments = cleared("{folder}/clip.mkv", out=str(tmp_path / out))
  arguments = [a.replace("{folder}", str(tmp_path)) for a in arguments]
  how = ended(made.restored, arguments)
  one_line(how)
  assert re.search(said, how.lines[0]), how.lines
  assert content(tmp_path) == before


@pytest.fixture
def mounted(tmp_path):
  """Mounts a file system in memory; unmounts it at the end."""
  place = tmp_path / "mounted"
  place.mkdir()
  command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
  yield place
  # At once, though a mapped array of a failed test may still be open.
  subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("out", ["out.mkv", "out.mp4", "out"])
@pytest.mark.parametrize("name", PREVIEWS)
def test_a_full_disk_ends_a_restoration(name, out, mounted, tmp_path):
  made.plain(tmp_path)
  (mounted / "filled").write_bytes(bytes(92 * 1024))
  before = content(tmp_path)
  options = [o.replace("more", "mounted/more") for o in PREVIEWS[name]]
  arguments = cleared(
    "{folder}/clip.mkv", *options, out=f"{{folder}}/mounted/{out}"
  )
  arguments = [a.replace("{folder}", str(tmp_path)) for a in arguments]
  one_line(ended(made.restored, arguments), "No space left", "make room")
  assert content(tmp_path) == before


def test_a_full_disk_ends_an_export(mounted, tmp_path):
  videos = tmp_path / "videos"
  videos.mkdir()
  made.clip(videos / "a.mkv")
  (mounted / "filled").write_bytes(bytes(84 * 1024))
  arguments = ["export", videos, "--out", mounted / "data", "--size", "96"]
  how = ended(made.prepared, arguments)
  one_line(how, "No space left", "make room", "finished videos are kept")
  kept = [path for path in (mounted / "data").rglob("*") if path.is_file()]
  assert {path.name for path in kept} <= {"settings.json"}


def test_a_full_disk_ends_an_annotation(mounted, tmp_path):
  videos = tmp_path / "videos"
  videos.mkdir()
  made.clip(videos / "a.mkv")
  (mounted / "filled").write_bytes(bytes(92 * 1024))
  arguments = ["annotate", videos, "--out", mounted / "data", "--every", "1"]
  one_line(ended(made.prepared, arguments), "No space left", "make room")
  kept = [path for path in (mounted / "data").rglob("*") if path.is_file()]
  pictures = {path.stem for path in kept if path.suffix == ".jpg"}
  labels = {path.stem for path in kept if path.suffix == ".txt"}
  assert pictures >= labels and not [p for p in kept if "partial" in p.name]


@pytest.mark.parametrize("out", ["out.mkv", "out"])
def test_a_disk_that_is_read_only(out, mounted, tmp_path):
  made.plain(tmp_path)
  command = ["mount", "-o", "remount,ro", str(mounted)]
  subprocess.run(command, check=True)
  arguments = cleared("{folder}/clip.mkv", out=str(mounted / out))
  arguments = [a.replace("{folder}", str(tmp_path)) for a in arguments]
  one_line(
    ended(made.restored, arguments), out, "Read-only", "that can be written"
  )


def test_a_full_disk_ends_rows_before_they_are_written(mounted):
  row = np.ones((1, 999), np.float16)
  with (
    pytest.raises(OSError, match="No space left") as caught,
    EncodedWriter(mounted / "rows") as writer,
  ):
    writer.write("mean", 0, row, total=9999)
  assert caught.value.filename.endswith("mean.npy")
  assert not content(mounted)


def test_standard_output_that_is_full():
  code = (
    "from diffmvr_jax.errors import run_command\n"
    "run_command(lambda argv: print('x' * 9))\n"
  )
  with open("/dev/full", "w") as full:
    done = subprocess.run(
      [sys.executable, "-c", code],
      stdout=full,
      stderr=subprocess.PIPE,
      text=True,
      check=False,
    )
  assert done.returncode == 2
  assert done.stderr == (
    "error: standard output: No space left on device; make room there and run "
    "the command again\n"
  )


def test_no_memory_is_one_line():
  how = ended(lambda argv: np.empty(2**45) and None, [])
  one_line(how, "not enough memory", "Unable to allocate")
