"""Videos that are odd, and fine."""

from fractions import Fraction

import av
import numpy as np
import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.media.video import read_frames
from tests.data_prep.bad_input.running import IMAGES, half_written, run
from tests.data_prep.clips import write_video

LOSSLESS = {"codec": "ffv1", "pixels": "bgr0"}


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
