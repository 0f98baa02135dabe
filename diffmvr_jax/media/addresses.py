"""Addresses of cameras and servers, and how messages name them."""

import re

import av
import av.error

from diffmvr_jax.errors import InputError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_RTSP = re.compile(r"rtsps?://", re.IGNORECASE)
_BRIEF = 0.2  # seconds for an address that leads nowhere


def is_address(name: str) -> bool:
  """Whether a name is an address, and not a file's.

  Example:
    >>> is_address("rtsp://camera.ward/1"), is_address("film.mp4")
    (True, False)
  """
  return _URL.match(name) is not None


def is_rtsp(name: str) -> bool:
  """Whether a name is an address of RTSP, with or without TLS."""
  return _RTSP.match(name) is not None


def shown(name: str) -> str:
  """Returns how messages name a source: an address without its secrets.

  Cameras take passwords before their host, in their path and after a question
  mark, so that only the kind and the host of an address are shown.

  Example:
    >>> shown("rtsp://nurse:secret@camera.ward:554/1?key=2"), shown("a.mp4")
    ('rtsp://camera.ward:554/…', 'a.mp4')
  """
  kind, _, rest = name.partition("://")
  if not is_address(name) or kind.lower() == "file":
    return name
  host, *path = re.split("[/?#]", rest, maxsplit=1)
  if "@" in "".join(path):  # a password may hold a slash
    return f"{kind}://…"
  return f"{kind}://{host.rpartition('@')[2]}{'/…' if path else ''}"


def check_address(url: str) -> None:
  """Refuses an address of a kind that FFmpeg does not know.

  Raises:
    InputError: it is of such a kind.

  Example:
    >>> check_address("rtsp://camera.ward/1")
  """
  kind = url.partition("://")[0]
  try:
    av.open(f"{kind}://", timeout=_BRIEF).close()
  except av.error.ProtocolNotFoundError:
    raise InputError(
      f"{shown(url)}: FFmpeg here does not know {kind}://"
    ) from None
  except (av.error.FFmpegError, OSError, ValueError):
    pass  # of course: it names nothing
