"""Cameras that are reached over the network, with what goes wrong there."""

import contextlib
import logging
import re
import socket
import threading
import time

import httpx
import numpy as np
import pytest

from diffmvr_jax.errors import InputError
from diffmvr_jax.live import sources
from diffmvr_jax.live.sources import Choice, Feed, check_source
from diffmvr_jax.media.addresses import shown
from diffmvr_jax.media.sources import open_source
from tests.live import scene
from tests.live.camera_peer import CameraPeer, pictures_of
from tests.live.conftest import serving

SMALL = [np.full((96, 128, 3), grey, np.uint8) for grey in range(60, 180, 8)]
SECRET = "nurse:s3cret"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  monkeypatch.setattr(sources, "_PAUSES", (0.1,))


class Taken:
  """What a feed has given."""

  def __init__(self):
    self.frames: list[np.ndarray] = []
    self.told: list[bool] = []

  def take(self, arrival) -> None:
    self.frames.append(arrival.picture)


@contextlib.contextmanager
def feeding(address):
  taken = Taken()
  choice = Choice(address, "network camera 1")
  feed = Feed(choice, taken.take, taken.told.append)
  try:
    yield taken
  finally:
    feed.close()


def wait_for(condition, seconds=10.0):
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline, "it does not happen"
    time.sleep(0.02)


@contextlib.contextmanager
def silent_host():
  """Takes connections, and never says a word."""
  with socket.create_server(("127.0.0.1", 0)) as listener:
    yield listener.getsockname()[1]


def test_a_camera_that_reboots_comes_back_with_another_size(caplog):
  with CameraPeer(SMALL, password=SECRET) as camera:
    port = camera.port
    address = f"rtsp://{SECRET}@127.0.0.1:{port}/1"
    with feeding(address) as taken:
      wait_for(lambda: len(taken.frames) > 5)
      assert taken.told == [True] and camera.asked == ["RTP/AVP/TCP"]
      assert abs(int(taken.frames[0][0, 0, 0]) - 60) < 70
      camera.__exit__()
      wait_for(lambda: "(Connection refused)" in caplog.text)
      assert taken.told[-1] is False
      large = [np.zeros((144, 192, 3), np.uint8)] * 5
      with CameraPeer(large, port=port, password=SECRET):
        wait_for(lambda: taken.told[-1] is True)
        assert taken.frames[-1].shape == (144, 192, 3)
        wait_for(lambda: "network camera 1: frames come" in caplog.messages)
  assert "s3cret" not in caplog.text and "nurse" not in caplog.text
  assert str(port) not in caplog.text


@pytest.mark.parametrize(
  ("options", "reason"),
  [
    ({"password": "nurse:other"}, "401 Unauthorized"),
    ({"status": "404 Not Found"}, "404 Not Found"),
    ({"over_tcp": False}, "Protocol not supported|Invalid data"),
  ],
)
def test_a_camera_that_refuses_is_told_once(options, reason, caplog):
  with CameraPeer(SMALL, **options) as camera:
    address = f"rtsp://{SECRET}@127.0.0.1:{camera.port}/1"
    with feeding(address) as taken:
      wait_for(lambda: len(taken.told) >= 3)
    with pytest.raises(InputError, match=reason) as refused:
      open_source(address)
  assert not taken.frames and not any(taken.told)
  (line,) = caplog.messages
  assert re.search(rf"^network camera 1: cannot be read \(.*({reason})", line)
  assert "s3cret" not in caplog.text + str(refused.value)
  assert str(refused.value).startswith(f"rtsp://127.0.0.1:{camera.port}/…: ")


def test_a_camera_that_refuses_tcp_is_asked_for_udp():
  with CameraPeer(SMALL, over_tcp=False) as camera:
    with pytest.raises(InputError):
      open_source(f"rtsp://127.0.0.1:{camera.port}/1")
    assert camera.asked[:2] == ["RTP/AVP/TCP", "RTP/AVP/UDP"]


def test_a_stream_that_changes_its_size_goes_on(caplog):
  with CameraPeer(SMALL) as camera:
    large = [np.zeros((144, 192, 3), np.uint8)] * 10
    camera.pictures += pictures_of(large)
    with feeding(f"rtsp://127.0.0.1:{camera.port}/1") as taken:
      wait_for(lambda: len({frame.shape for frame in taken.frames}) == 2)
      assert taken.told == [True] and not caplog.messages
    source = open_source(f"rtsp://127.0.0.1:{camera.port}/1")
    assert {f.image.shape for f in source.frames} == {(96, 128, 3)}
    assert "the frames' size has changed" in str(source.complaint)


def test_damaged_packets_are_left_out(caplog):
  with CameraPeer(SMALL) as camera:
    camera.pictures.insert(7, [b"\x65" + b"\xff" * 40])
    camera.pictures.insert(9, [b"\x41" + bytes(range(99))])
    with feeding(f"rtsp://127.0.0.1:{camera.port}/1") as taken:
      wait_for(lambda: len(taken.frames) > 4 * len(SMALL))
      assert taken.told == [True] and not caplog.messages


def test_a_host_that_does_not_answer_keeps_nobody_waiting():
  with silent_host() as port, CameraPeer(scene.frames(0.4)) as camera:
    names = (
      f"rtsp://{SECRET}@127.0.0.1:{port}/1",
      f"rtsp://127.0.0.1:{camera.port}/1",
    )
    with serving(sources=names) as served:
      time.sleep(0.3)
      began = time.monotonic()
      assert not httpx.get(f"{served.address}/healthz").json()["arriving"]
      assert httpx.post(f"{served.address}/source/1").status_code == 204
      assert time.monotonic() - began < 2
      wait_for(lambda: served.session.arriving)
      assert httpx.post(f"{served.address}/source/0").status_code == 204
      assert not served.session.arriving
      began = time.monotonic()
    assert time.monotonic() - began < 4  # the server has ended


def test_a_network_camera_is_restored_and_its_address_stays_secret(caplog):
  caplog.set_level(logging.DEBUG, "diffmvr")
  with CameraPeer(scene.frames(2), password=SECRET) as camera:
    name = f"rtsp://{SECRET}@127.0.0.1:{camera.port}/ward?key=s3cret"
    with serving(sources=(name,)) as served:

      def get(path):
        return httpx.get(served.address + path)

      wait_for(lambda: 'state="covered"' in get("/metrics").text)
      assert get("/healthz").json()["arriving"]
      camera.__exit__()
      wait_for(lambda: not get("/healthz").json()["arriving"])
      said = caplog.text
      for path in ("/", "/status", "/metrics", "/healthz", "/openapi.json"):
        answer = get(path)
        said += answer.text + str(answer.headers)
  assert "network camera 1" in said
  assert "s3cret" not in said and "nurse" not in said and "/ward" not in said


def test_nothing_is_taken_or_told_after_the_end():
  with CameraPeer(SMALL) as camera:
    with feeding(f"rtsp://127.0.0.1:{camera.port}/1") as taken:
      wait_for(lambda: taken.frames)
    count = len(taken.frames)
    time.sleep(0.2)
    assert len(taken.frames) == count and taken.told == [True]
  assert not [t for t in threading.enumerate() if t.name == "live-feed"]


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("rtsp://u:p@host:1/a?b=c#d", "rtsp://host:1/…"),
    ("rtsp://u:p/q@host/a", "rtsp://…"),
    ("rtsp://u:p@q@host", "rtsp://host"),
    ("rtsp://host/user=u&password=p", "rtsp://host/…"),
    ("rtsp://host?password=p@q", "rtsp://…"),
    ("RTSPS://u@[::1]:1/a", "RTSPS://[::1]:1/…"),
    ("camera:0", "camera:0"),
    ("/a/b@c.mp4", "/a/b@c.mp4"),
  ],
)
def test_messages_name_an_address_without_its_secrets(name, said):
  assert shown(name) == said


def test_an_address_of_a_file_is_refused_at_once():
  with pytest.raises(InputError, match="name the file itself"):
    check_source("file:///nowhere.mp4")
  with pytest.raises(InputError, match=r"^foo://x/…: FFmpeg here"):
    check_source("foo://u:p@x/y")
