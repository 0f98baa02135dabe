"""Files: checksums, atomic writes, and the search for model files.

Files of trained weights that this project does not contain are all looked for
by one rule:

1. If the user names a folder or a path, the file must be there. A bare file
   name that is not in the working directory goes on to 2.
2. Otherwise it is looked for in the folder that the environment variable
   `DIFFMVR_MODELS` names,
3. and then in `~/.cache/diffmvr`. If its checksum is known and it is in
   neither folder, it is fetched from its publisher into this one.

If the file is not found, the error names its path and says what to put there.
"""

import hashlib
import os
import urllib.request
from collections.abc import Collection
from pathlib import Path

from diffmvr_jax.errors import InputError

_VARIABLE = "DIFFMVR_MODELS"
_CACHE = "~/.cache/diffmvr"


class MissingModelFileError(InputError):
  """A model file is not where it is looked for.

  Attributes:
    advice: what to put where.
  """

  def __init__(self, path: Path, advice: str, alternative: str = ""):
    super().__init__(f"{path}: no such file; {advice}{alternative}")
    self.advice = advice


def sha256(path: str | Path) -> str:
  """Returns the hex digest of a file."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
  """Writes a text file so that a reader sees all of it or none."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text)
  partial.replace(path)


def find_model_file(
  *names: str,
  folder: str | Path | None = None,
  option: str,
  source: str,
  digests: Collection[str] = (),
) -> Path:
  """Finds a file of trained weights by the rule of this module.

  Args:
    names: names that the file may have; the first one found counts.
    folder: the folder that the user names; None if the user names none.
    option: the option that names the folder or file, for messages.
    source: where the first of the names can be had, for messages; if `digests`
      are given, the URL that it is fetched from.
    digests: SHA-256 of the versions that are accepted; empty accepts any.

  Raises:
    MissingModelFileError: the file is in none of the folders.
    InputError: it cannot be fetched, or its checksum is wrong.
  """
  folders = [Path(folder)] if folder else _usual_folders()
  for path in (place / name for place in folders for name in names):
    if path.is_file():
      if digests:
        _check(path, sha256(path), digests, "delete it")
      return path
  other_place = f", or name another place with {option} or {_VARIABLE}"
  missing = MissingModelFileError(
    folders[0] / names[0],
    f"put {source} into {folders[0]}",
    "" if folder else other_place,
  )
  if folder or not digests:
    raise missing
  try:
    return _fetch(source, folders[-1] / names[0], digests)
  except OSError as error:
    raise InputError(f"{missing}; fetching it failed ({error})") from error


def find_named_model_file(
  named: str | Path, *, option: str, source: str
) -> Path:
  """Finds the file that the user names, by the rule of this module.

  Args:
    named: a path; a bare file name is also looked for in the folders of model
      files.
    option: the option that names the file, for messages.
    source: what the file should be, for messages.

  Raises:
    MissingModelFileError: there is no such file.
  """
  path = Path(named)
  if path.is_file():
    return path
  if path.name != str(named):
    raise MissingModelFileError(path, f"{option} needs {source}")
  return find_model_file(path.name, option=option, source=source)


def _usual_folders() -> list[Path]:
  named = os.environ.get(_VARIABLE)
  cache = Path(_CACHE).expanduser()
  return [Path(named), cache] if named else [cache]


def _fetch(url: str, path: Path, digests: Collection[str]) -> Path:
  with urllib.request.urlopen(url, timeout=60) as response:
    data = response.read()
  digest = hashlib.sha256(data).hexdigest()
  _check(url, digest, digests, f"get the file elsewhere and put it at {path}")
  path.parent.mkdir(parents=True, exist_ok=True)
  # Two processes may fetch at once; each writes a file of its own.
  partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
  partial.write_bytes(data)
  partial.replace(path)
  return path


def _check(
  place: str | Path, digest: str, digests: Collection[str], advice: str
) -> None:
  if digest not in digests:
    raise InputError(
      f"{place}: its checksum {digest[:12]}… is not a known one; {advice}"
    )
