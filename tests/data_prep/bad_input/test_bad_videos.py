"""Videos that cannot be used."""

import shutil

import av
import cv2
import numpy as np
import pytest

from tests.data_prep.bad_input.running import (
  IMAGES,
  exported,
  half_written,
  run,
)
from tests.data_prep.clips import drawn, write_video

LOSSLESS = {"codec": "ffv1", "pixels": "bgr0"}


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
