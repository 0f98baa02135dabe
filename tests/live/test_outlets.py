"""Where restored frames go: an RTSP server, and a virtual camera."""

import contextlib
import queue
import socket
import sys
import threading
import time
import types

import av
import av.error
import numpy as np
import pytest

from diffmvr_jax.errors import InputError
from diffmvr_jax.live.outlets import Reopened, VirtualCamera, opener
from diffmvr_jax.live.pipeline import Arrival
from diffmvr_jax.live.publisher import Publisher
from diffmvr_jax.live.session import Session
from diffmvr_jax.live.sources import choices
from tests.live import scene
from tests.live.test_network_camera import silent_host, wait_for


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  monkeypatch.setattr(Reopened, "PAUSE", 0.2)


def free_port() -> int:
  with socket.create_server(("127.0.0.1", 0)) as listener:
    return listener.getsockname()[1]


class Receiver:
  """An RTSP server that takes one stream, in a thread."""

  def __init__(self, port: int):
    self.frames: queue.Queue[np.ndarray] = queue.Queue()
    self._over = threading.Event()
    self._thread = threading.Thread(target=self._run, args=(port,))
    self._thread.start()

  def __enter__(self) -> "Receiver":
    return self

  def __exit__(self, *_) -> None:
    self._over.set()
    self._thread.join(timeout=15)
    assert not self._thread.is_alive()

  def _run(self, port: int) -> None:
    with (
      contextlib.suppress(av.error.FFmpegError, OSError),
      av.open(
        f"rtsp://127.0.0.1:{port}/out",
        options={"rtsp_flags": "listen", "listen_timeout": "10"},
        timeout=10,
      ) as opened,
    ):
      for frame in opened.decode(video=0):
        self.frames.put(frame.to_ndarray(format="rgb24"))
        if self._over.is_set():
          return


@contextlib.contextmanager
def fed(out: Reopened, image: np.ndarray):
  """Writes a frame, 50 times per second, until the block ends."""
  over = threading.Event()

  def write() -> None:
    while not over.wait(0.02):
      out.write(image, time.monotonic())

  thread = threading.Thread(target=write)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()


def test_an_rtsp_server_gets_the_restored_frames():
  port = free_port()
  out = Reopened(opener(f"rtsp://127.0.0.1:{port}/out"))
  session = Session(scene.restorer(), choices(["browser"]), out)
  try:
    with Receiver(port) as receiver:
      for image in scene.frames(1.5):
        session._take(Arrival(image, time.monotonic()))
        time.sleep(0.04)
      seen = [receiver.frames.get(timeout=10)]
      while not receiver.frames.empty():
        seen.append(receiver.frames.get())
      session.close()
  finally:
    session.close()
  last = seen[-1].astype(float)
  assert not scene.blue(seen[-1]).any()
  beside = np.ones(last.shape[:2], bool)
  beside[scene.BAR] = False
  assert abs(last - scene.FREE)[beside].mean() < 4  # H.264's own error


def test_a_receiver_that_dies_and_comes_back(caplog):
  port = free_port()
  image = np.full((63, 81, 3), 90, np.uint8)  # sides that H.264 cuts
  out = Reopened(opener(f"rtsp://nurse:s3cret@127.0.0.1:{port}/out"))
  with contextlib.closing(out), fed(out, image):
    wait_for(lambda: "Connection refused" in caplog.text)
    for _ in range(2):
      with Receiver(port) as receiver:
        frame = receiver.frames.get(timeout=10)
      assert frame.shape == (62, 80, 3)
      assert abs(frame.astype(int) - 90).max() < 8
    wait_for(lambda: "--out: the stream broke off" in caplog.text)
  assert caplog.messages[1] == "--out: frames are passed on"
  assert "s3cret" not in caplog.text and "127.0.0.1" not in caplog.text


def test_a_receiver_that_says_nothing_keeps_nobody_waiting(caplog):
  beats = []
  over = threading.Event()

  def beat() -> None:
    while not over.wait(0.02):
      beats.append(time.monotonic())

  thread = threading.Thread(target=beat)
  thread.start()
  with silent_host() as port:
    address = f"rtsp://127.0.0.1:{port}/out"
    out = Reopened(lambda size: Publisher(address, size, patience=0.4))
    with contextlib.closing(out), fed(out, scene.FREE):
      wait_for(lambda: "no answer within 0.4 seconds" in caplog.text)
  over.set()
  thread.join()
  # FFmpeg would have stopped all of Python.
  assert max(np.diff(beats)) < 1


def test_a_publisher_tells_its_server_s_words():
  with socket.create_server(("127.0.0.1", 0)) as listener:

    def refuse() -> None:
      client, _ = listener.accept()
      with client:
        client.recv(4096)
        client.sendall(b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n")

    threading.Thread(target=refuse).start()
    port = listener.getsockname()[1]
    publisher = Publisher(f"rtsp://u:p@127.0.0.1:{port}/out", (32, 32))
    with (
      contextlib.closing(publisher),
      pytest.raises(InputError, match=r"^cannot write there \(.*404"),
    ):
      publisher.write(np.zeros((32, 32, 3), np.uint8), 0.0)


class StandIn(types.ModuleType):
  """Has pyvirtualcam's call, and checks what the true one checks."""

  def __init__(self, error: str = ""):
    super().__init__("pyvirtualcam")
    self.error, self.sent, self.closed = error, [], 0

  def Camera(self, width: int, height: int, fps: float):
    if self.error:
      raise RuntimeError(self.error)
    self.size = (height, width, 3)
    return self

  def send(self, frame: np.ndarray) -> None:
    assert frame.dtype == np.uint8 and frame.shape == self.size
    assert frame.flags.c_contiguous
    self.sent.append(frame)

  def close(self) -> None:
    self.closed += 1


def test_a_virtual_camera_gets_even_frames(monkeypatch):
  monkeypatch.setitem(sys.modules, "pyvirtualcam", camera := StandIn())
  image = np.random.default_rng(1).integers(0, 255, (63, 81, 3), np.uint8)
  out = Reopened(opener("virtual-camera"))
  with contextlib.closing(out), fed(out, image):
    wait_for(lambda: camera.sent)
  np.testing.assert_array_equal(camera.sent[0], image[:62, :80])
  assert camera.closed == 1


def test_a_virtual_camera_that_is_not_there_gets_one_line(monkeypatch, caplog):
  words = "'obs' backend: none\n'unitycapture' backend: none"
  monkeypatch.setitem(sys.modules, "pyvirtualcam", StandIn(words))
  with pytest.raises(InputError, match="'obs' backend: none 'unityc"):
    VirtualCamera((64, 48))
  out = Reopened(opener("virtual-camera"))
  with contextlib.closing(out), fed(out, scene.FREE):
    wait_for(lambda: caplog.messages)
    time.sleep(0.5)  # it is tried again
  (line,) = caplog.messages
  assert line.startswith("--out: no virtual camera can be opened ('obs'")
  assert "\n" not in line
