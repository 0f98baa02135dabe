"""The live server: its arguments, and what is sent to it."""

import contextlib
import errno
import socket
import sys
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from diffmvr_jax.live.__main__ import main
from tests.hostile import made
from tests.hostile.running import Case, content, judge
from tests.hostile.test_disks import file_limit
from tests.live import scene
from tests.live.conftest import serving
from tests.live.test_pipeline import jpeg

PEM = ("--certificate", "{folder}/a.pem", "--key", "{folder}/b.pem")


def hosted(*arguments, said, make=lambda folder: None):
  return Case(" ".join(arguments), main, arguments, said, make)


def begun(*arguments, said, make=lambda folder: None):
  """Is refused once the model is opened, of which a line tells before."""
  arguments = ("--port", "0", *arguments)
  name = " ".join(arguments)
  return Case(name, main, arguments, said, make, list="getting ready")


CASES = [
  *(
    hosted(f"--port={value}", said="argument --port: .* is not ")
    for value in ("-1", "65536", "1_0", "²", "8000.0", "nan", "", "9" * 30)
  ),
  *(
    hosted(f"--max-upload={value}", said="argument --max-upload: .* is not ")
    for value in ("0", "-1", "nan", "1.5", "٣", "1048577", "")
  ),
  hosted("--host=", said="--host: give an address"),
  *(
    hosted(f"--host={value}", said="cannot listen there")
    for value in ("::zz", "...", "a" * 300, "no such host", "203.0.113.1")
  ),
  hosted("--key=x", said="belong together"),
  hosted("--certificate=x", said="belong together"),
  hosted(*PEM, said="a.pem: no such file"),
  hosted(
    *PEM,
    said="no certificate and its key",
    make=made.making(made.file("a.pem", "no"), made.file("b.pem", b"\xff")),
  ),
  hosted(
    *PEM,
    said="a.pem: a pipe or device",
    make=lambda folder: made.fifo(folder / "a.pem"),
  ),
  *(
    hosted(f"--source={source}", said=said)
    for source, said in [
      ("", "name a camera, an address or a file"),
      ("-", "name a camera, an address or a file"),
      ("camera:", "expected camera:INDEX"),
      ("foo://x", "foo://x: FFmpeg here does not know foo://"),
      ("/nowhere.mp4", "/nowhere.mp4: no such file"),
      ("nowhere:mp4", "nowhere:mp4: no such file"),
      ("{folder}", "no picture in this folder"),
    ]
  ),
  hosted(
    "--source={folder}/a.mp4",
    said="a.mp4: not a video",
    make=made.file("a.mp4", "no video"),
  ),
  hosted(
    "--source={folder}/a.mp4",
    said="a.mp4: a pipe or device",
    make=lambda folder: made.fifo(folder / "a.mp4"),
  ),
  hosted("--source=browser", "--source=x.mp4", said="x.mp4: no such file"),
  hosted("--out=http://x", said="expected rtsp"),
  hosted("--out=x.mp4", said="expected rtsp"),
  hosted("--nonsense", said="unrecognized arguments: --nonsense"),
  hosted("--port", said="--port: expected one argument"),
  begun("--checkpoint={folder}", said="no trained or imported model"),
  begun("--checkpoint=/nowhere", said="no trained or imported model"),
  begun("--checkpoint=pretrained:x", said="no such model"),
  begun(
    "--checkpoint={folder}/a.safetensors",
    said="a.safetensors: ",
    make=made.file("a.safetensors", "no model"),
  ),
  begun("--models=/nowhere", said="/nowhere/.*: no such file"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:60])
def test_an_argument_that_cannot_be_used(case, tmp_path):
  judge(case, tmp_path)


def test_a_virtual_camera_that_cannot_be_had(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
  judge(
    hosted("--out=virtual-camera", said="pyvirtualcam is missing"), tmp_path
  )


@pytest.fixture(scope="module")
def served():
  with serving() as running:
    yield running


@pytest.fixture
def quiet(served, capfd, caplog):
  """The server, which afterwards has said no traceback and kept nothing."""
  caplog.clear()
  capfd.readouterr()
  yield served
  assert httpx.get(f"{served.address}/healthz").status_code == 200
  said = "".join(capfd.readouterr()) + caplog.text
  assert "Traceback" not in said and "Exception" not in said, said
  assert content(served.uploads._folder) == {}
  assert not served.uploads._uploads


REQUESTS = [
  ("POST", "/source/99", {}, 422),
  ("POST", "/source/-1", {}, 422),
  ("POST", "/source/x", {}, 422),
  ("POST", "/source/" + "9" * 400, {}, 422),
  ("POST", "/source/%C2%B2", {}, 422),
  ("DELETE", "/recording", {}, 404),
  ("GET", "/restore/x", {}, 404),
  ("GET", "/restore/..%2f..%2fetc/video", {}, 404),
  ("GET", "/restore/x/video", {}, 404),
  ("DELETE", "/restore/x", {}, 204),
  ("POST", "/restore?wait=perhaps", {}, 422),
  ("GET", "/page/..%2f..%2f__main__.py", {}, 404),
  ("GET", "/page/%00", {}, 404),
  ("GET", "/nowhere", {}, 404),
  ("PUT", "/restore", {}, 405),
  ("GET", "/healthz", {"origin": "http://["}, 403),
  ("GET", "/healthz", {"origin": "null"}, 403),
  ("GET", "/healthz", {"origin": "\x80"}, 403),
  ("GET", "/healthz", {"host": "["}, 403),
  ("GET", "/healthz", {"host": ""}, 403),
]


@pytest.mark.parametrize(
  ("method", "path", "headers", "status"),
  REQUESTS,
  ids=[f"{m} {p[:24]} {h or ''}" for m, p, h, _ in REQUESTS],
)
def test_a_request_that_cannot_be_answered(
  method, path, headers, status, quiet
):
  encoded = [(k, v.encode("latin-1")) for k, v in headers.items()]
  answer = httpx.request(method, quiet.address + path, headers=encoded)
  assert answer.status_code == status, answer.text


BODIES = {
  "nothing": b"",
  "words": b"no video",
  "a playlist": b"#EXTM3U\nfile:///etc/passwd",
  "an empty MP4": b"\0\0\0\x18ftypmp42" + bytes(16),
  "a Matroska head": b"\x1aE\xdf\xa3" + bytes(99),
  "an AVI head": b"RIFF\xff\xff\xff\xffAVI " + bytes(99),
  "a GIF head": b"GIF89a\xff\xff\xff\xff" + bytes(99),
  "an FLV head": b"FLV\x01\x05" + bytes(99),
  "an Ogg head": b"OggS" + b"\xff" * 99,
}


@pytest.mark.parametrize("name", BODIES)
def test_an_upload_that_is_no_video(name, quiet):
  answer = httpx.post(f"{quiet.address}/restore", content=BODIES[name])
  assert answer.status_code == 422
  detail = answer.json()["detail"]
  assert "video" in detail and "\n" not in detail and "/" not in detail


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  path = tmp_path_factory.mktemp("film") / "film.mp4"
  scene.write_video(path, scene.frames(0.4))
  return path.read_bytes()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_upload_that_is_cut_off(share, film, quiet):
  body = film[: round(share * len(film))]
  answer = httpx.post(f"{quiet.address}/restore", content=body)
  assert answer.status_code == 422
  assert "the video" in answer.json()["detail"]


def test_a_client_that_goes_while_it_uploads(film, quiet):
  with socket.create_connection(("127.0.0.1", quiet.port)) as client:
    head = f"POST /restore HTTP/1.1\r\nhost: 127.0.0.1:{quiet.port}\r\n"
    head += f"content-length: {len(film)}\r\n\r\n"
    client.sendall(head.encode() + film[:1000])
    time.sleep(0.3)
  time.sleep(0.3)


def test_a_disk_that_takes_no_upload(film, quiet, caplog):
  with file_limit(3000):
    answer = httpx.post(f"{quiet.address}/restore", content=film, timeout=60)
  assert answer.status_code == 507
  assert answer.json() == {"detail": "the server's disk: File too large"}
  (line,) = [r.message for r in caplog.records if r.name == "diffmvr.live"]
  assert "File too large" in line


def test_a_disk_that_takes_no_result(film, quiet, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device", "/place/of/ours")

  monkeypatch.setattr(quiet.uploads._restorer, "video", full)
  answer = httpx.post(f"{quiet.address}/restore", content=film, timeout=60)
  assert answer.status_code == 422
  reason = "the server's disk: No space left on device"
  assert answer.json() == {"detail": reason}


def test_a_folder_of_uploads_that_has_gone(film, quiet):
  folder = quiet.uploads._folder
  folder.rmdir()
  try:
    answer = httpx.post(f"{quiet.address}/restore", content=film)
  finally:
    folder.mkdir()
  assert answer.status_code == 507
  assert "No such file" in answer.json()["detail"]


def test_a_recording_that_the_disk_does_not_take(quiet):
  address = quiet.address.replace("http", "ws")
  assert httpx.post(f"{quiet.address}/recording").status_code == 204
  with file_limit(3000), camera(f"{address}/camera") as socket:
    for image in scene.frames(0.4):
      socket.send(jpeg(image))
      time.sleep(0.04)
    deadline = time.monotonic() + 20
    while not quiet.session._recording and time.monotonic() < deadline:
      time.sleep(0.05)
    answer = httpx.delete(f"{quiet.address}/recording", timeout=60)
  assert answer.status_code == 422, answer.text
  assert "not complete" in answer.json()["detail"]


@contextlib.contextmanager
def camera(address):
  """Is the camera, once the one before has been noticed to be gone."""
  for _ in range(50):
    with connect(address) as socket:
      try:
        socket.recv(timeout=0.1)
      except TimeoutError:
        yield socket
        return
      except ConnectionClosed:
        time.sleep(0.1)
  pytest.fail("another camera does not go")


PICTURES = {
  "nothing": b"",
  "words": b"no picture",
  "a JPEG head": b"\xff\xd8\xff\xe0" + bytes(99),
  "a huge PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff"
  + bytes(20),
}


@pytest.mark.parametrize("name", [*PICTURES, "text in place of bytes"])
def test_a_camera_that_sends_no_pictures(name, quiet):
  address = quiet.address.replace("http", "ws") + "/camera"
  with camera(address) as socket:
    socket.send(PICTURES.get(name, "text"))
    with contextlib.suppress(ConnectionClosed):  # which text leads to
      socket.send(jpeg(scene.FREE))
      time.sleep(0.2)
