"""Pictures, raw frames and live sources, in and out."""

import io
import os
import signal
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from diffmvr_jax.errors import InputError
from diffmvr_jax.media import sources
from diffmvr_jax.media.sinks import open_sink
from diffmvr_jax.media.sources import open_source
from diffmvr_jax.media.video_writer import VideoWriter
from tests.media.test_video import INFO, frames


class Pipe:
  """Stands for a process's standard input or output."""

  def __init__(self, data=b""):
    self.buffer = io.BytesIO(data)


def test_pictures_come_in_the_order_of_their_numbers(tmp_path):
  for i in (9, 10, 2):
    grey = np.full((8, 12, 3), i, np.uint8)
    cv2.imwrite(str(tmp_path / f"frame_{i}.png"), grey)
  source = open_source(tmp_path, fps=Fraction(50))
  assert (source.info.width, source.info.height) == (12, 8)
  assert source.info.fps == 50 and source.estimate == 3
  taken = list(source.frames)
  assert [frame.image[0, 0, 0] for frame in taken] == [2, 9, 10]
  assert [frame.pts for frame in taken] == [0, 1, 2]


def test_a_folder_of_pictures_comes_back_exactly(tmp_path):
  with open_sink(tmp_path / "out", INFO) as sink:
    for frame in frames():
      sink.write(frame)
  again = open_source(tmp_path / "out")
  for old, new in zip(frames(), again.frames, strict=True):
    np.testing.assert_array_equal(old.image, new.image)
  with pytest.raises(InputError, match="out: exists; name a new folder"):
    open_sink(tmp_path / "out", INFO)


def test_a_folder_that_was_not_finished_is_not_there(tmp_path):
  with pytest.raises(RuntimeError), open_sink(tmp_path / "out", INFO) as sink:
    sink.write(frames()[0])
    raise RuntimeError
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ("break_", "said"),
  [
    (lambda d: cv2.imwrite(str(d / "b.png"), np.zeros((9, 9, 3))), "is 9x9"),
    (lambda d: (d / "b.png").write_bytes(b"no"), "not a picture"),
  ],
)
def test_a_picture_that_does_not_fit_is_named(break_, said, tmp_path):
  cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
  break_(tmp_path)
  with pytest.raises(InputError, match=rf"b\.png: .*{said}"):
    list(open_source(tmp_path).frames)


def test_a_folder_without_pictures_is_named(tmp_path):
  with pytest.raises(InputError, match="no picture in this folder"):
    open_source(tmp_path)


def test_raw_frames_go_through_pipes(monkeypatch):
  data = b"".join(frame.image.tobytes() for frame in frames())
  monkeypatch.setattr(sys, "stdin", Pipe(data))
  monkeypatch.setattr(sys, "stdout", out := Pipe())
  source = open_source("-", size=(48, 32))
  with open_sink("-", source.info) as sink:
    for frame in source.frames:
      sink.write(frame)
  assert out.buffer.getvalue() == data
  assert source.complaint is None


def test_a_pipe_that_ends_within_a_frame_says_so(monkeypatch):
  data = b"".join(frame.image.tobytes() for frame in frames())
  monkeypatch.setattr(sys, "stdin", Pipe(data[:-100]))
  source = open_source("-", size=(48, 32))
  assert len(list(source.frames)) == len(frames()) - 1
  assert source.complaint is not None
  assert "ends within frame 11, after 4508 of its 4608" in source.complaint


def test_raw_frames_need_a_size():
  with pytest.raises(InputError, match="need --size"):
    open_source("-")


def test_a_reader_that_has_gone_is_named(monkeypatch):
  read, write = os.pipe()
  os.close(read)
  with os.fdopen(write, "wb", buffering=0) as stream:
    monkeypatch.setattr(sys, "stdout", type("", (), {"buffer": stream}))
    with (
      pytest.raises(InputError, match="reader of standard output has gone"),
      open_sink("-", INFO) as sink,
    ):
      sink.write(frames()[0])


def test_a_size_that_changes_is_named_with_its_frame(tmp_path):
  """An H.264 stream may begin anew with another size."""
  parts = []
  for size in ((48, 32), (64, 48)):
    path = tmp_path / f"{size[0]}.h264"
    with av.open(str(path), "w") as output:
      stream = output.add_stream("libx264", rate=25)
      stream.width, stream.height = size
      for _ in range(3):
        image = np.zeros((size[1], size[0], 3), np.uint8)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
      output.mux(stream.encode(None))
    parts.append(path.read_bytes())
  both = tmp_path / "both.h264"
  both.write_bytes(b"".join(parts))
  with pytest.raises(InputError, match=r"frame 3 is 64x48, .* are 48x32"):
    list(open_source(both).frames)


def live(path):
  """A file, read as a live source is."""
  return open_source(f"file:///{path}".replace("////", "///"))


def test_a_live_source_drops_the_oldest_frames(tmp_path, monkeypatch):
  path = tmp_path / "a.mkv"
  with VideoWriter(path, INFO, lossless=True) as writer:
    for frame in frames():
      writer.write(frame)
  source = live(path)
  taken = source.frames
  kept = [next(taken)]
  for thread in sources.threading.enumerate():
    if thread is not sources.threading.current_thread():
      thread.join(5)  # all frames have come; eight of them may wait
  kept += list(taken)
  assert source.dropped == len(frames()) - len(kept) > 0
  newest = np.stack([frame.image for frame in frames()])[-len(kept) + 1 :]
  np.testing.assert_array_equal([f.image for f in kept[1:]], newest)


def test_an_interrupt_ends_a_live_source(tmp_path):
  path = tmp_path / "a.mkv"
  with VideoWriter(path, INFO, lossless=True) as writer:
    for frame in frames():
      writer.write(frame)
  source = live(path)
  before = signal.getsignal(signal.SIGINT)
  taken = []
  for frame in source.frames:
    taken.append(frame)
    if len(taken) == 1:
      os.kill(os.getpid(), signal.SIGINT)
  assert 1 <= len(taken) <= len(frames())
  assert taken[0].pts == 0 or source.dropped  # the thread may be ahead
  assert source.complaint is None
  assert signal.getsignal(signal.SIGINT) is before


def test_what_cannot_be_reached_is_named():
  with pytest.raises(InputError, match="cannot be read"):
    open_source("camera:97")
  with pytest.raises(InputError, match=r"nowhere\.mp4: cannot be read"):
    open_source("file:///nowhere.mp4")
