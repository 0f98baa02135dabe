"""Where pretrained models lie: the first of these that has the file.

1. the folder that the user names (`--models`),
2. the folder in the environment variable `DIFFMVR_MODELS`,
3. the user's cache, `~/.cache/diffmvr`, into which it is fetched from its
   publisher when it is not there.

The checksum decides whether a file is the right one.
"""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from diffmvr_jax.files import sha256

from diffmvr_jax.errors import InputError

_STORAGE = "https://storage.googleapis.com/mediapipe-models"
# SHA-256 of the files that are known to be good.
_KNOWN = {
  "face_landmarker": {
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
  },
  "hand_landmarker": {
    "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1",
    "1c86c5c3c700a703e2e9e6fa15877dc780353685f1eb9843b2e4f98792d570b2",
  },
}


def model_path(name: str, folder: str | Path | None = None) -> Path:
  """Finds a MediaPipe model, and fetches it where there is none.

  Args:
    name: `face_landmarker` or `hand_landmarker`.
    folder: where the user says that it is.

  Raises:
    InputError: it is not where the user says; it cannot be fetched; its
      checksum is wrong.
  """
  file = f"{name}.task"
  named = folder or os.environ.get("DIFFMVR_MODELS")
  if named:
    path = Path(named) / file
    if not path.is_file():
      source = "--models" if folder else "DIFFMVR_MODELS"
      raise InputError(
        f"{path}: no such file; put {_url(name)} there or unset {source}"
      )
  else:
    path = Path(os.path.expanduser("~/.cache/diffmvr")) / file
    if not path.is_file():
      _fetch(name, path)
  digest = sha256(path)
  if digest not in _KNOWN[name]:
    raise InputError(
      f"{path}: checksum {digest[:12]}… is not {name}'s; delete it"
    )
  return path


def _url(name: str) -> str:
  return f"{_STORAGE}/{name}/{name}/float16/1/{name}.task"


def _fetch(name: str, path: Path) -> None:
  try:
    with urllib.request.urlopen(_url(name), timeout=60) as response:
      data = response.read()
  except (urllib.error.URLError, OSError) as error:
    raise InputError(
      f"{path}: not there, and {_url(name)} cannot be fetched ({error}); put "
      "the file there, or name its folder with --models or DIFFMVR_MODELS"
    ) from error
  digest = hashlib.sha256(data).hexdigest()
  if digest not in _KNOWN[name]:
    raise InputError(
      f"{_url(name)}: checksum {digest[:12]}… is not {name}'s; get the file "
      f"elsewhere and put it at {path}"
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  # Two exports may fetch at once; each writes a file of its own.
  partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
  partial.write_bytes(data)
  partial.replace(path)
