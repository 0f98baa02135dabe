"""The WebSockets: pages that watch, and the browser that is the camera."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from diffmvr_jax.live.guard import PROTOCOL
from diffmvr_jax.live.session import Session

_MOST = 16  # pages that watch
_BEAT = 1.0  # seconds between two messages about the source
_PATIENCE = 15.0  # seconds for a page to say that it has drawn a frame
FULL, TAKEN = 4429, 4409  # WebSocket's codes


class Mailbox:
  """Holds the newest message for one page.

  Args:
    loop: the event loop that the page's task runs on.
  """

  def __init__(self, loop: asyncio.AbstractEventLoop):
    self._loop, self._came = loop, asyncio.Event()
    self._newest: bytes | None = None

  def __call__(self, message: bytes) -> None:
    """Takes a message from another thread; it replaces an older one."""
    self._newest = message
    with contextlib.suppress(RuntimeError):  # if the loop has ended
      self._loop.call_soon_threadsafe(self._came.set)

  async def next(self, timeout: float) -> bytes | None:
    """Waits for a message; None if there is none in time."""
    try:
      await asyncio.wait_for(self._came.wait(), timeout)
    except TimeoutError:
      return None
    self._came.clear()
    return self._newest


async def watch(
  socket: WebSocket, session: Session, status: Callable[[], dict[str, Any]]
) -> None:
  """Sends frames to a page, each once the one before has been drawn.

  Args:
    socket: the page's.
    session: what it watches.
    status: what the page is told once a second, as text.
  """
  await socket.accept(subprotocol=_protocol(socket))
  if session.meter.viewers_now >= _MOST:
    await socket.close(FULL, "so many pages watch already")
    return
  mailbox = Mailbox(asyncio.get_running_loop())
  session.watch(mailbox)
  told = 0.0
  try:
    while True:
      message = await mailbox.next(_BEAT)
      if time.monotonic() - told >= _BEAT:
        told = time.monotonic()
        await socket.send_text(json.dumps(status()))
      if message is not None:
        await socket.send_bytes(message)
        await asyncio.wait_for(socket.receive_text(), _PATIENCE)
  except (WebSocketDisconnect, RuntimeError, TimeoutError):
    pass  # it has gone
  finally:
    session.leave(mailbox)


class CameraDesk:
  """Lets one browser at a time be the camera.

  Args:
    session: takes the frames.
  """

  def __init__(self, session: Session):
    self._session, self._taken = session, False

  async def film(self, socket: WebSocket) -> None:
    """Takes frames, JPEG files, until the browser leaves."""
    await socket.accept(subprotocol=_protocol(socket))
    if self._taken:
      await socket.close(TAKEN, "another browser is the camera")
      return
    self._taken = True
    try:
      while True:
        picture = await socket.receive_bytes()
        self._session.take_picture(picture, time.monotonic())
    except (WebSocketDisconnect, RuntimeError, KeyError):
      pass  # it has gone, or does not send pictures
    finally:
      self._taken = False
      await asyncio.to_thread(self._session.camera_left)


def _protocol(socket: WebSocket) -> str | None:
  offered = socket.headers.get("sec-websocket-protocol", "")
  names = [name.strip() for name in offered.split(",")]
  return PROTOCOL if PROTOCOL in names else None
