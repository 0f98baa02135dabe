"""What the command refuses before it loads a model."""

import socket

import pytest

from diffmvr_jax.errors import InputError
from diffmvr_jax.live.__main__ import main
from diffmvr_jax.live.guard import is_loopback


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--source", "missing.mp4"], "missing.mp4: no such file"),
    (["--out", "http://here"], "--out http://here: expected rtsp"),
    (["--key", "missing.pem"], "belong together"),
    (
      ["--port", "99999"],
      "argument --port: 99999 is not at least 0 and at most 65535",
    ),
    (["--max-upload", "0"], "argument --max-upload: 0 is not at least 1"),
  ],
)
def test_bad_arguments_get_one_line(arguments, words):
  with pytest.raises(InputError, match=words):
    main(arguments)


def test_a_port_that_is_taken_is_named():
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = str(taken.getsockname()[1])
    with pytest.raises(InputError, match=f"--port {port}: cannot listen"):
      main(["--port", port])


def test_only_this_machine_needs_no_token():
  assert is_loopback("localhost") and is_loopback("::1")
  assert not is_loopback("0.0.0.0") and not is_loopback("192.168.1.2")
