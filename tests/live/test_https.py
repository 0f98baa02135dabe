"""The server over https, and the certificates that it refuses."""

import json
import shutil
import ssl
import subprocess

import httpx
import pytest
from websockets.sync.client import connect

from diffmvr_jax.errors import InputError
from diffmvr_jax.live.__main__ import main
from tests.live import scene
from tests.live.conftest import serving


def openssl(*arguments) -> None:
  subprocess.run(
    ["openssl", *map(str, arguments)], check=True, capture_output=True
  )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A folder with a certificate, its key, that key encrypted, and another."""
  if shutil.which("openssl") is None:
    pytest.skip("openssl, which makes certificates, is not installed")
  folder = tmp_path_factory.mktemp("certificate")
  for name in ("a", "b"):
    openssl(
      *("req", "-x509", "-newkey", "ec", "-pkeyopt"),
      *("ec_paramgen_curve:prime256v1", "-nodes", "-days", 2),
      *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
      *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
    )
  openssl(
    *("ec", "-in", folder / "a.key", "-aes128", "-passout", "pass:secret"),
    *("-out", folder / "encrypted.key"),
  )
  return folder


def test_page_socket_token_and_upload_over_https(made, tmp_path):
  pair = made / "a.pem", made / "a.key"
  with serving(token="right", certificate=pair) as served:
    assert served.address.startswith("https://")
    trusted = ssl.create_default_context(cafile=str(made / "a.pem"))
    right = {"authorization": "Bearer right"}
    film = tmp_path / "film.mp4"
    scene.write_video(film, scene.frames(0.4))
    with httpx.Client(base_url=served.address, verify=trusted) as client:
      assert "<title>" in client.get("/").text
      assert client.get("/status").status_code == 401
      assert client.get("/status", headers=right).status_code == 200
      restored = client.post(
        "/restore", content=film.read_bytes(), headers=right, timeout=60
      )
      assert restored.status_code == 200 and restored.content[4:8] == b"ftyp"
    with connect(
      served.address.replace("https", "wss") + "/watch",
      ssl=trusted,
      origin=served.address,
      subprotocols=["diffmvr", "token.right"],
    ) as socket:
      assert json.loads(socket.recv(timeout=10))["chosen"] == 0


@pytest.mark.parametrize(
  ("key", "said"),
  [
    ("b.key", "the key is another certificate's"),
    ("encrypted.key", "the key has a password"),
    ("a.pem", "no certificate and its key"),
    ("none.key", "none.key: no such file"),
  ],
)
def test_a_key_that_cannot_be_used_is_refused_at_once(made, key, said):
  with pytest.raises(InputError, match=said) as refused:
    main(["--certificate", f"{made}/a.pem", "--key", f"{made}/{key}"])
  assert "\n" not in str(refused.value)


def test_a_certificate_that_is_a_key_is_refused_at_once(made):
  with pytest.raises(InputError, match="no certificate"):
    main(["--certificate", f"{made}/a.key", "--key", f"{made}/a.key"])
