"""Who may talk to the server, and what browsers may do with its page.

Without a token only this machine is answered: a request has to name it as its
host, so that no foreign page can get in by a name that leads here. A request
that another page has made is refused in any case.
"""

import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

HEADERS = {
  "Content-Security-Policy": (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
  ),
  "X-Frame-Options": "DENY",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
}
# What a WebSocket is asked for; the token stands beside it, since a browser
# cannot send other headers and addresses end up in logs.
PROTOCOL = "diffmvr"
_TOKEN_PREFIX = "token."
_HERE = {"localhost", "127.0.0.1", "[::1]"}
_OPEN = re.compile(r"/|/healthz|/page/[\w.-]+")
REFUSED = 4401  # WebSocket's code for a wrong token
_Scope = MutableMapping[str, Any]
_App = Callable[[_Scope, Any, Any], Awaitable[None]]


class Guard:
  """Lets requests through to an application, or refuses them.

  Args:
    app: the application.
    token: what everybody but the page's own files asks for; None means that
      only this machine is answered.
  """

  def __init__(self, app: _App, token: str | None):
    self._app, self._token = app, token

  async def __call__(self, scope: _Scope, receive: Any, send: Any) -> None:
    """Answers one request."""
    if scope["type"] == "lifespan":
      await self._app(scope, receive, send)
      return
    headers = {
      name.decode("latin-1").lower(): value.decode("latin-1")
      for name, value in scope["headers"]
    }

    async def send_with_headers(message: Any) -> None:
      if message["type"] == "http.response.start":
        extra = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
        message = {**message, "headers": [*message["headers"], *extra]}
      await send(message)

    reason = self._refusal(scope, headers)
    if reason is None:
      await self._app(scope, receive, send_with_headers)
    elif scope["type"] == "websocket":
      await receive()
      # A browser does not listen to a server that takes no protocol.
      offered = headers.get("sec-websocket-protocol", "").split(",")[0].strip()
      await send({"type": "websocket.accept", "subprotocol": offered or None})
      await send({"type": "websocket.close", "code": REFUSED, "reason": reason})
    else:
      body = json.dumps({"detail": reason}).encode()
      kind = [(b"content-type", b"application/json")]
      status = 401 if "token" in reason else 403
      await send_with_headers(
        {"type": "http.response.start", "status": status, "headers": kind}
      )
      await send({"type": "http.response.body", "body": body})

  def _refusal(self, scope: _Scope, headers: dict[str, str]) -> str | None:
    host = headers.get("host", "")
    if self._token is None and _without_port(host) not in _HERE:
      return "only this machine is answered"
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) != host:
      return "another page has made the request"
    if self._token is None or _OPEN.fullmatch(scope["path"]):
      return None
    return None if self._has_token(headers) else "the token is wrong"

  def _has_token(self, headers: dict[str, str]) -> bool:
    assert self._token is not None
    given = headers.get("authorization", "").removeprefix("Bearer ")
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
      if protocol.strip().startswith(_TOKEN_PREFIX):
        given = protocol.strip().removeprefix(_TOKEN_PREFIX)
    return hmac.compare_digest(given.encode(), self._token.encode())


def _host_of(origin: str) -> str | None:
  try:
    return urlsplit(origin).netloc
  except ValueError:  # such as of http://[
    return None


def _without_port(host: str) -> str:
  return re.sub(r":\d+$", "", host).lower()


def is_loopback(host: str) -> bool:
  """Whether an address is this machine's alone.

  Example:
    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
  """
  return host in {"localhost", "127.0.0.1", "::1"}
