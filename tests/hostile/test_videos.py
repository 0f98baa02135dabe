"""Videos, pictures and raw frames that are not what they seem."""

import io
import os
import re
import struct
import sys
import zlib

import av
import numpy as np
import pytest

from tests.hostile import made
from tests.hostile.made import cleared, file, making
from tests.hostile.running import Case, content, ended, judge


def source(name, said, *steps, video="{folder}/clip.mkv", **more):
  make = making(lambda folder: made.mask(folder / "mask.png"), *steps)
  return Case(name, made.restored, cleared(video), said, make=make, **more)


def cut(share):
  def make(folder):
    path = made.clip(folder / "clip.mkv", count=60)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])

  return make


def fifo(name):
  return lambda folder: made.fifo(folder / name)


def png(width, height):
  """The head of a picture that is not there."""
  head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  check = struct.pack(">I", zlib.crc32(head))
  return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + check


def pictures(*names_and_data):
  steps = [lambda folder: made.mask(folder / "pictures" / "1.png")]
  more = [file(f"pictures/{name}", data) for name, data in names_and_data]
  return making(lambda f: (f / "pictures").mkdir(), *steps, *more)


def duration(text):
  def make(folder):
    path = made.clip(folder / "clip.mkv")
    data = path.read_bytes()
    (tag,) = set(re.findall(rb"\d\d:\d\d:\d\d\.\d{9}", data))
    new = text.encode().ljust(len(tag), b"\0")
    path.write_bytes(data.replace(tag, new))

  return make


def codec(old, new):
  def make(folder):
    made.patched(made.with_sound(folder / "clip.mkv"), old, new)

  return make


REFUSED = [
  source("nothing", "no such file"),
  source("empty", "not a video", file("clip.mkv")),
  source("text", "not a video", file("clip.mkv", "no video\n" * 200)),
  source("zeros", "not a video", file("clip.mkv", bytes(9999))),
  source(
    "a picture's head", "not a video|no frame", file("clip.mkv", png(9, 9))
  ),
  source("a head alone", "no frame|not a video", cut(0.02)),
  source("cut at a third", "truncated|damaged|no frame", cut(0.33)),
  source("cut at two thirds", "truncated|damaged", cut(0.67)),
  source("a pipe", "a pipe or device", fifo("clip.mkv")),
  source("a device", "a pipe or device", video="/dev/zero"),
  source(
    "an empty folder",
    "no picture in this folder",
    lambda folder: (folder / "pictures").mkdir(),
    video="{folder}/pictures",
  ),
  source("hours", "truncated", duration("99:00:00")),
  source("sound alone", "no video", lambda f: sound_alone(f / "clip.mkv")),
  source("no such codec", "no frame|damaged", codec(b"FFV1", b"XYZW")),
  *(
    source(name, said, pictures(*more), video="{folder}/pictures")
    for name, said, more in [
      ("a picture of nothing", "2.png: not a picture", [("2.png", b"")]),
      ("a picture of text", "2.png: not a picture", [("2.png", b"text")]),
      ("half a picture", "2.png: not a picture", [("2.png", png(48, 48))]),
      (
        "a picture of 2³¹ pixels",
        "2.png: not a picture",
        [("2.png", png(2**31 - 1, 2**31 - 1))],
      ),
      ("a first picture of text", "0.png: not a pic", [("0.png", b"text")]),
    ]
  ),
  source(
    "a picture of another size",
    "2.png: is 8x8, 1.png is 48x48",
    pictures(),
    lambda folder: made.mask(folder / "pictures" / "2.png", side=8),
    video="{folder}/pictures",
  ),
  source(
    "a pipe among pictures",
    "2.png: a pipe or device",
    pictures(),
    fifo("pictures/2.png"),
    video="{folder}/pictures",
  ),
  source(
    "a folder among pictures",
    "2.png: no such file",
    pictures(),
    lambda folder: (folder / "pictures" / "2.png").mkdir(),
    video="{folder}/pictures",
  ),
  *(
    Case(
      f"a mask: {name}",
      made.restored,
      cleared("{folder}/clip.mkv"),
      said,
      make=making(lambda f: made.clip(f / "clip.mkv"), step),
    )
    for name, said, step in [
      ("nothing", "mask.png: no such file", lambda folder: None),
      ("empty", "not a picture", file("mask.png")),
      ("text", "not a picture", file("mask.png", "text")),
      ("a pipe", "a pipe or device", fifo("mask.png")),
      ("2³¹", "not a picture", file("mask.png", png(2**31 - 1, 2**31 - 1))),
      (
        "another size",
        "the mask has 8×8 pixels",
        lambda folder: made.mask(folder / "mask.png", side=8),
      ),
      ("an empty folder", "no masks", lambda f: (f / "mask.png").mkdir()),
    ]
  ),
]


def sound_alone(path):
  with av.open(str(path), "w") as output:
    stream = output.add_stream("pcm_s16le", rate=16000)
    frame = av.AudioFrame.from_ndarray(
      np.zeros((1, 1024), np.int16), format="s16", layout="mono"
    )
    frame.sample_rate = 16000
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_source_that_cannot_be_used(case, tmp_path):
  judge(case, tmp_path)


ODD = {
  **{
    f"a duration of {text!r}": duration(text)
    for text in ("xx", "nan", "", "1:2", "-1:00:00", "::", "00:00:0x", "1e9")
  },
  "a title that is not UTF-8": codec(b"A-TITLE-IN-ASCII", b"\xff\xfe" * 8),
  "sound of no codec": codec(b"A_PCM/INT/LIT", b"A_XXX/YYY/ZZZ"),
  "a name that is not UTF-8": file(b"\xff.txt"),
  "a name of two lines": file("a\nb"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_video_is_restored(name, tmp_path):
  made.plain(tmp_path)
  ODD[name](tmp_path)
  arguments = [a.format(folder=tmp_path) for a in cleared("{folder}/clip.mkv")]
  how = ended(made.restored, arguments)
  assert how.code == 0, how.lines
  assert not [line for line in how.lines if "warning:" not in line]
  assert "sound" not in name or "(unknown) cannot be in .mkv" in how.lines[0]
  with av.open(str(tmp_path / "out.mkv")) as video:
    assert sum(1 for _ in video.decode(video=0)) == made.FRAMES


@pytest.mark.parametrize("name", [b"\xff\xfe.mkv", b"a\nb.mkv", b" .mkv"])
def test_a_video_of_any_name_is_restored(name, tmp_path):
  made.mask(tmp_path / "mask.png")
  odd = tmp_path / os.fsdecode(name)
  os.rename(made.clip(tmp_path / "clip.mkv"), odd)
  out = tmp_path / os.fsdecode(b"out" + name)
  arguments = cleared(str(odd), out=str(out))
  how = ended(
    made.restored, [a.replace("{folder}", str(tmp_path)) for a in arguments]
  )
  assert how.code == 0 and not how.lines, how.lines
  assert out.is_file()


class Broken(io.RawIOBase):
  """A stream that fails when it is read."""

  def readable(self):
    return True

  def readinto(self, buffer):
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (None, "standard input is closed"),
    (io.BytesIO(), "standard input: has no frame; nothing is written"),
    (io.BytesIO(bytes(7)), "ends within frame 0, after 7 of its 6912 bytes"),
    (io.BufferedReader(Broken()), "cannot be read .Input/output error"),
  ],
  ids=["closed", "empty", "half a frame", "broken"],
)
@pytest.mark.parametrize("out", ["out.mkv", "out"])
def test_raw_frames_that_do_not_come(given, said, out, tmp_path, monkeypatch):
  made.mask(tmp_path / "mask.png")
  before = content(tmp_path)
  stdin = None if given is None else io.TextIOWrapper(given)
  if given is not None and given.seekable():
    given.seek(0)
  monkeypatch.setattr(sys, "stdin", stdin)
  arguments = cleared("-", "--size", "48x48", out=str(tmp_path / out))
  how = ended(
    made.restored, [a.replace("{folder}", str(tmp_path)) for a in arguments]
  )
  assert how.code == 2
  (line,) = how.lines
  assert line.startswith("error: ") and re.search(said, line), line
  assert content(tmp_path) == before
  if stdin is not None:
    stdin.detach()


def test_a_pipe_in_a_folder_of_videos_costs_itself_alone(tmp_path):
  videos = tmp_path / "videos"
  videos.mkdir()
  made.clip(videos / "a.mkv")
  made.fifo(videos / "pipe.mkv")
  how = ended(
    made.prepared,
    ["export", videos, "--out", tmp_path / "data", "--size", "96"],
  )
  said = "\n".join(how.lines)
  assert how.code == 1 and "pipe.mkv: a pipe or device" in said, said
  assert "Traceback" not in said
  assert (tmp_path / "data" / "manifest.json").is_file()
