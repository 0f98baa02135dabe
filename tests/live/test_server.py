import json
import logging
import time

import av
import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.live import scene
from tests.live.conftest import serving
from tests.live.test_pipeline import jpeg


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  path = tmp_path_factory.mktemp("film") / "anna.mp4"
  scene.write_video(path, scene.frames(1))
  return path


@pytest.fixture
def ask(served):
  with httpx.Client(base_url=served.address, timeout=120) as client:
    yield client


def watched(served, **options):
  address = served.address.replace("http", "ws") + "/watch"
  return connect(address, subprotocols=["diffmvr"], **options)


def next_frame(socket):
  """The header of the next frame; says that it is drawn."""
  for _ in range(30):  # a line of text comes every second
    message = socket.recv(timeout=30)
    if isinstance(message, bytes):
      break
  else:
    pytest.fail("no frame comes")
  socket.send("drawn")
  length = int.from_bytes(message[:4], "big")
  return json.loads(message[4 : 4 + length])


def test_health_metrics_and_description(ask):
  assert ask.get("/healthz").json() == {"status": "ok", "arriving": False}
  assert "diffmvr_live_latency_seconds" in ask.get("/metrics").text
  described = ask.get("/openapi.json").json()
  assert "post" in described["paths"]["/restore"]
  assert ask.get("/docs").status_code == 404  # it would load foreign scripts


def test_headers_keep_foreign_scripts_and_frames_away(ask):
  headers = ask.get("/").headers
  policy = headers["content-security-policy"]
  assert "default-src 'none'" in policy and "script-src 'self'" in policy
  assert "frame-ancestors 'none'" in policy
  assert headers["x-frame-options"] == "DENY"
  assert headers["cache-control"] == "no-store"


def test_other_hosts_and_other_pages_are_refused(ask, served):
  foreign = {"host": "evil.example"}
  assert ask.get("/healthz", headers=foreign).status_code == 403
  page = {"origin": "http://evil.example"}
  assert ask.post("/recording", headers=page).status_code == 403
  with (
    pytest.raises(ConnectionClosed),
    watched(served, origin="http://evil.example") as socket,
  ):
    socket.recv(timeout=10)


def test_a_token_is_asked_for_where_there_is_one():
  with serving(token="right") as served:
    get = httpx.get
    assert get(f"{served.address}/").status_code == 200
    assert get(f"{served.address}/healthz").status_code == 200
    for path in ("/metrics", "/status", "/openapi.json"):
      assert get(f"{served.address}{path}").status_code == 401
      wrong = {"authorization": "Bearer wrong"}
      assert get(f"{served.address}{path}", headers=wrong).status_code == 401
      right = {"authorization": "Bearer right"}
      assert get(f"{served.address}{path}", headers=right).status_code == 200
    address = served.address.replace("http", "ws") + "/watch"
    with (
      pytest.raises(ConnectionClosed) as refused,
      connect(address, subprotocols=["diffmvr", "token.wrong"]) as socket,
    ):
      socket.recv(timeout=10)
    assert refused.value.rcvd.code == 4401
    with connect(address, subprotocols=["diffmvr", "token.right"]) as socket:
      assert json.loads(socket.recv(timeout=10))["chosen"] == 0


def test_a_video_is_restored_with_its_sound_and_nothing_stays(
  ask, served, film, caplog
):
  with caplog.at_level(logging.INFO):
    answer = ask.post("/restore", content=film.read_bytes())
  assert answer.status_code == 200, answer.text
  path = film.with_name("restored.mp4")
  path.write_bytes(answer.content)
  with av.open(path) as video:
    assert video.streams.audio
    images = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
  assert len(images) == len(scene.frames(1))
  assert not scene.blue(images[-1]).any()
  time.sleep(0.2)
  assert not list(served.uploads._folder.iterdir())
  assert "anna" not in caplog.text


@pytest.mark.parametrize(
  ("body", "status", "words"),
  [
    (b"\0" * (2**20 + 1), 413, "up to 1 MiB"),
    (b"#EXTM3U\nfile:///etc/passwd", 422, "not a video"),
    (b"", 422, "not a video"),
    (b"\0\0\0\x18ftypmp42" + b"\0" * 999, 422, "the video"),
  ],
)
def test_bad_uploads_are_refused(ask, served, body, status, words):
  def chunks():  # so that the length is not announced
    yield body

  answer = ask.post("/restore", content=chunks())
  assert answer.status_code == status
  assert words in answer.json()["detail"]
  assert "/tmp" not in answer.text
  assert not list(served.uploads._folder.iterdir())


def test_an_upload_can_be_given_up(ask, film):
  answer = ask.post("/restore?wait=false", content=film.read_bytes())
  assert answer.status_code == 202
  name = answer.json()["id"]
  assert ask.delete(f"/restore/{name}").status_code == 204
  assert ask.get(f"/restore/{name}").status_code == 404


def test_a_file_plays_for_two_viewers_who_share_one_restoration(film):
  with serving(sources=(str(film), "browser")) as served:
    with watched(served) as one, watched(served) as two:
      seen = [next_frame(one) for _ in range(2)] + [next_frame(two)]
      assert seen[-1]["viewers"] == 2 and seen[0]["number"] < seen[1]["number"]
      text = httpx.get(f"{served.address}/metrics").text
      assert "diffmvr_live_viewers 2.0" in text
    status = httpx.get(f"{served.address}/status").json()
    assert status["sources"] == ["file 1", "this browser's camera"]
    assert "anna" not in json.dumps(status)


def test_a_recording_holds_the_restored_frames(ask, served, tmp_path):
  address = served.address.replace("http", "ws") + "/camera"
  with watched(served) as page, connect(address) as camera:
    assert ask.post("/recording").status_code == 204
    assert ask.post("/recording").status_code == 422
    for picture in (scene.FREE, scene.FREE, scene.COVERED, scene.COVERED):
      camera.send(jpeg(picture))
      next_frame(page)
    # Only one browser can be the camera.
    with connect(address) as other, pytest.raises(ConnectionClosed):
      other.recv(timeout=10)
    video = ask.delete("/recording")
    assert video.headers["content-type"] == "video/mp4"
  path = tmp_path / "recording.mp4"
  path.write_bytes(video.content)
  with av.open(path) as opened:
    images = [f.to_ndarray(format="rgb24") for f in opened.decode(video=0)]
    assert "estimated" in opened.metadata["comment"]
  assert 3 <= len(images) <= 4 and not scene.blue(images[-1]).any()
  assert ask.delete("/recording").status_code == 404
  assert not list(served.uploads._folder.iterdir())
