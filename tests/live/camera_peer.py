"""A network camera: a small RTSP server, which sends H.264 over TCP."""

import base64
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import av
import numpy as np

_SDP = "\r\n".join(
  [
    "v=0",
    "o=- 0 0 IN IP4 127.0.0.1",
    "s=camera",
    "t=0 0",
    "m=video 0 RTP/AVP 96",
    "a=rtpmap:96 H264/90000",
    "a=fmtp:96 packetization-mode=1",
    "a=framerate:25",
    "a=control:track",
    "",
  ]
)
_SPACING = 90_000 // 25


def pictures_of(images: list[np.ndarray]) -> list[list[bytes]]:
  """Returns the H.264 units of each frame; every fifth can be joined."""
  encoder = av.CodecContext.create("libx264", "w")
  encoder.height, encoder.width = images[0].shape[:2]
  encoder.pix_fmt, encoder.framerate = "yuv420p", 25
  encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "5"}
  encoder.thread_count = 1
  packets = []
  for image in images:
    packets += encoder.encode(av.VideoFrame.from_ndarray(image, "rgb24"))
  packets += encoder.encode(None)
  return [
    [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1") if unit]
    for packet in packets
  ]


class CameraPeer:
  """Plays frames to everybody who asks, 100 per second, again and again.

  Args:
    images: the frames, of shape (h, w, 3), uint8.
    port: 0 means any.
    password: what it asks for, `user:password`; None means nothing.
    status: what it answers to DESCRIBE, once the password is right.
    over_tcp: whether it sends over TCP, which it refuses otherwise.
  """

  def __init__(
    self,
    images: list[np.ndarray],
    *,
    port: int = 0,
    password: str | None = None,
    status: str = "200 OK",
    over_tcp: bool = True,
  ):
    self.pictures = pictures_of(images)
    self.asked: list[str] = []  # the ways of transport that it was asked for
    self._password, self._status = password, status
    self._over_tcp = over_tcp
    self._listener = socket.create_server(("127.0.0.1", port))
    self.port = self._listener.getsockname()[1]
    self._clients: list[socket.socket] = []
    self._threads = [threading.Thread(target=self._accept)]
    self._threads[0].start()

  def __enter__(self) -> "CameraPeer":
    return self

  def __exit__(self, *_) -> None:
    # Some systems wake nobody who waits if a socket is only closed.
    for opened in (self._listener, *self._clients):
      with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
      opened.close()
    for thread in self._threads:
      thread.join(timeout=5)
      assert not thread.is_alive()

  def _accept(self) -> None:
    while True:
      try:
        client, _ = self._listener.accept()
      except OSError:
        return
      self._clients.append(client)
      self._threads.append(threading.Thread(target=self._serve, args=(client,)))
      self._threads[-1].start()

  def _serve(self, client: socket.socket) -> None:
    try:
      with client, client.makefile("rb") as lines:
        for method, headers in _requests(lines):
          self._answer(client, method, headers)
          if method == "PLAY":
            self._play(client)
    except OSError:
      pass  # it has gone, or the camera is switched off

  def _answer(self, client, method: str, headers: dict[str, str]) -> None:
    status, body = "200 OK", ""
    more = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN", "Session: 1"]
    if method == "DESCRIBE":
      if not self._knows(headers.get("authorization", "")):
        status = "401 Unauthorized"
        more.append('WWW-Authenticate: Basic realm="camera"')
      else:
        status, body = self._status, _SDP
        more.append("Content-Type: application/sdp")
    elif method == "SETUP":
      self.asked.append(headers["transport"].split(";")[0])
      if self._over_tcp and "TCP" in headers["transport"]:
        more.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
      else:
        status = "461 Unsupported Transport"
    head = [f"RTSP/1.0 {status}", f"CSeq: {headers['cseq']}", *more]
    head += [f"Content-Length: {len(body)}", "", body]
    client.sendall("\r\n".join(head).encode())

  def _knows(self, given: str) -> bool:
    if self._password is None:
      return True
    right = base64.b64encode(self._password.encode()).decode()
    return given == f"Basic {right}"

  def _play(self, client: socket.socket) -> None:
    number = count = 0
    while True:
      for units in self.pictures:
        for unit in units:
          mark = 0x80 if unit is units[-1] else 0
          head = struct.pack(
            ">BBHII", 0x80, mark | 96, number % 2**16, count * _SPACING, 1
          )
          client.sendall(struct.pack(">cBH", b"$", 0, 12 + len(unit)))
          client.sendall(head + unit)
          number += 1
        count += 1
        time.sleep(0.01)


def _requests(lines) -> Iterator[tuple[str, dict[str, str]]]:
  while first := lines.readline().decode().split():
    headers = {}
    while line := lines.readline().decode().strip():
      name, _, value = line.partition(": ")
      headers[name.lower()] = value
    yield first[0], headers
