import dataclasses
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from diffmvr_jax.errors import InputError
from diffmvr_jax.media.video import (
  Colour,
  TimedFrame,
  VideoInfo,
  probe,
  read_frames,
)
from diffmvr_jax.media.video_writer import VideoWriter

INFO = VideoInfo(
  width=48,
  height=32,
  fps=Fraction(30000, 1001),
  time_base=Fraction(1, 30000),
  has_audio=False,
)


def frames(count=12, height=32, width=48):
  rng = np.random.default_rng(0)
  return [
    TimedFrame(rng.integers(0, 256, (height, width, 3), np.uint8), 1001 * i)
    for i in range(count)
  ]


def write(path, timed, info=INFO, **options):
  with VideoWriter(path, info, **options) as writer:
    for frame in timed:
      writer.write(frame)


def add_audio(source, target):
  """Remuxes a video with a second of noise as AAC."""
  with av.open(source) as old, av.open(target, "w") as new:
    video = new.add_stream_from_template(old.streams.video[0])
    audio = new.add_stream("aac", rate=16000)
    for packet in old.demux(old.streams.video[0]):
      if packet.dts is not None:
        packet.stream = video
        new.mux(packet)
    rng = np.random.default_rng(1)
    noise = rng.uniform(-0.5, 0.5, (1, 16000)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
    frame.sample_rate = 16000
    new.mux(audio.encode(frame))
    new.mux(audio.encode(None))


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_lossless_gives_back_every_pixel_and_timestamp(tmp_path, name):
  written = frames()
  write(tmp_path / name, written, lossless=True)
  info = probe(tmp_path / name)
  assert (info.width, info.height) == (48, 32)
  if name == "a.mp4":  # Matroska counts milliseconds
    assert info.fps == INFO.fps
  read = list(read_frames(tmp_path / name))
  assert len(read) == len(written)
  for before, after in zip(written, read, strict=True):
    np.testing.assert_array_equal(before.image, after.image)
    seconds = float(before.pts * INFO.time_base)
    assert float(after.pts * info.time_base) == pytest.approx(seconds, abs=1e-3)


def test_variable_frame_rate_survives(tmp_path):
  times = [0, 1001, 5005, 6006, 20000]
  written = [
    TimedFrame(f.image, t) for f, t in zip(frames(5), times, strict=True)
  ]
  write(tmp_path / "a.mp4", written)
  base = probe(tmp_path / "a.mp4").time_base
  read = [f.pts * base for f in read_frames(tmp_path / "a.mp4")]
  assert read == [t * INFO.time_base for t in times]


def test_odd_sizes_keep_their_size(tmp_path):
  info = VideoInfo(
    width=33,
    height=31,
    fps=Fraction(25),
    time_base=Fraction(1, 25),
    has_audio=False,
  )
  written = [TimedFrame(f.image, i) for i, f in enumerate(frames(3, 31, 33))]
  write(tmp_path / "a.mp4", written, info)
  assert next(read_frames(tmp_path / "a.mp4")).image.shape == (31, 33, 3)


def test_audio_packets_are_copied_unchanged(tmp_path):
  silent, source, out = (tmp_path / n for n in ("s.mp4", "a.mp4", "b.mp4"))
  write(silent, frames())
  add_audio(silent, source)
  assert probe(source).has_audio
  write(out, read_frames(source), probe(source), copy_from=source)

  def packets(path):
    with av.open(path) as container:
      return [bytes(p) for p in container.demux(audio=0) if p.size]

  assert packets(out) == packets(source)
  assert len(packets(out)) > 5


SUBTITLES = """\
1
00:00:00,040 --> 00:00:00,120
Das Gesicht ist frei.

2
00:00:00,160 --> 00:00:00,280
Eine Hand.
"""


def test_subtitles_are_copied_or_named(tmp_path, capsys):
  text, source = tmp_path / "text.srt", tmp_path / "a.mkv"
  text.write_text(SUBTITLES)
  write(source, frames(), copy_from=text)

  def packets(path):
    with av.open(path) as container:
      demuxed = container.demux(subtitles=0)
      return [(p.pts, p.duration, bytes(p)) for p in demuxed if p.size]

  write(
    tmp_path / "b.mkv", read_frames(source), probe(source), copy_from=source
  )
  assert packets(tmp_path / "b.mkv") == packets(source)
  assert len(packets(source)) == 2
  assert capsys.readouterr().err == ""
  write(
    tmp_path / "b.mp4", read_frames(source), probe(source), copy_from=source
  )
  said = capsys.readouterr().err
  assert "subtitle stream (subrip) cannot be in .mp4" in said
  assert len(list(read_frames(tmp_path / "b.mp4"))) == len(frames())


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_a_comment_travels_with_the_video(name, tmp_path):
  write(tmp_path / name, frames(), comment="restored, seed 3")
  with av.open(tmp_path / name) as container:
    tags = {key.lower(): value for key, value in container.metadata.items()}
  assert tags["comment"] == "restored, seed 3"


ENCODE = """
import sys
from tests.media.test_video import VideoInfo, frames, write
from fractions import Fraction

info = VideoInfo(width=160, height=160, fps=Fraction(25),
                 time_base=Fraction(1, 25), has_audio=False)
for name in sys.argv[1:]:
  write(name, frames(12, 160, 160), info)
"""


def test_the_same_frames_give_the_same_bytes(tmp_path):
  """Also where an encoder reads memory that it never wrote, as x264 did."""
  names, written = ["a.mp4", "a.mkv", "a.webm"], []
  for fill in ("1", "85", "170"):  # what glibc puts into fresh memory
    paths = [tmp_path / fill / name for name in names]
    subprocess.run(
      [sys.executable, "-c", ENCODE, *paths],
      env=os.environ | {"MALLOC_PERTURB_": fill},
      check=True,
    )
    written.append([path.read_bytes() for path in paths])
  assert written[0] == written[1] == written[2]


@pytest.mark.parametrize("space", [1, 2, 5])  # ITU-R 709, not said, 601
@pytest.mark.parametrize("range_", [0, 1, 2])  # not said, limited, full
def test_colours_are_those_of_the_source(space, range_, tmp_path):
  patches = np.array(
    [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (250, 250, 250)]], np.uint8
  )
  image = patches.repeat(32, 0).repeat(32, 1)
  colour = Colour(space=space, range=range_)
  info = dataclasses.replace(INFO, width=64, height=64, colour=colour)
  path = tmp_path / "a.mp4"
  write(path, [TimedFrame(image, 0)], info)
  found = probe(path).colour
  assert found.space == space
  assert (found.range == 2) == (range_ == 2)  # not said means limited
  read = next(read_frames(path)).image
  middles = np.s_[16::32, 16::32]
  np.testing.assert_allclose(read[middles], image[middles], atol=6)


def test_a_failed_write_leaves_nothing(tmp_path):
  with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", INFO) as w:
    w.write(frames()[0])
    raise RuntimeError
  assert list(tmp_path.iterdir()) == []


def test_bad_files_are_named(tmp_path):
  with pytest.raises(InputError, match="no such file"):
    probe(tmp_path / "nowhere.mp4")
  text = tmp_path / "text.mp4"
  text.write_text("this is not a video")
  with pytest.raises(InputError, match=r"text\.mp4: not a video"):
    probe(text)
  empty = tmp_path / "empty.mp4"
  empty.touch()
  with pytest.raises(InputError, match=r"empty\.mp4"):
    probe(empty)
  with pytest.raises(InputError, match="unknown kind of video file"):
    VideoWriter(tmp_path / "a.unknown", INFO)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.webm"])
def test_a_video_may_begin_late(name, tmp_path):
  """Matroska promises an end, and the first frame need not be at 0."""
  late = [TimedFrame(f.image, 1001 * 200 + f.pts) for f in frames(8)]
  write(tmp_path / name, late)
  assert len(list(read_frames(tmp_path / name))) == 8


def test_a_truncated_video_ends_in_an_error_that_names_the_frame(tmp_path):
  path = tmp_path / "a.mkv"
  write(path, frames(30), lossless=True)
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])
  count = 0
  with pytest.raises(InputError) as error:
    for _ in read_frames(path):
      count += 1
  assert 5 < count < 30
  said = str(error.value)
  assert f"ends after frame {count - 1}" in said or f"after {count} f" in said
