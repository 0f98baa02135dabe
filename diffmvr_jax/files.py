"""Files: checksums, writes whole or not at all, and the search for models.

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

import errno
import hashlib
import json
import os
import shutil
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
  """Names the place if the system refuses what is written meanwhile.

  Many of its errors name no file, or one that is temporary.

  Args:
    place: what the user calls the place.

  Raises:
    OSError: the disk is full or read-only, for example; `filename` is `place`.
  """
  try:
    yield
  except BrokenPipeError:
    raise
  except OSError as error:
    reason = error.strerror or " ".join(str(error).split())
    raise OSError(error.errno or 0, reason, str(place)) from error


@contextmanager
def replacing(path: Path, *, keeps_suffix: bool = False) -> Iterator[Path]:
  """Gives another path to write to, which at the end takes the place of `path`.

  After an error what was written is removed, and `path` is as it was.

  Args:
    path: a file, or a folder that does not exist or is empty.
    keeps_suffix: whether the other path ends as `path` does, for writers that
      go by it; otherwise it ends with `.partial`, which no reader looks for.
  """
  name = f"partial-{path.name}" if keeps_suffix else f"{path.name}.partial"
  partial = path.with_name(name)
  _remove(partial)
  try:
    yield partial
    with writing(path):
      partial.replace(path)
  except BaseException:
    _remove(partial)
    raise


def _remove(path: Path) -> None:
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path, ignore_errors=True)
  elif os.path.lexists(path):
    path.unlink()


def make_folder(path: Path) -> None:
  """Makes a folder and those above it, if they are not there.

  Raises:
    OSError: it cannot be made, or there is a file of this name.
  """
  with writing(path):
    try:
      path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
      reason = os.strerror(errno.ENOTDIR)
      raise NotADirectoryError(errno.ENOTDIR, reason) from error


@contextmanager
def making_folder(path: Path) -> Iterator[None]:
  """Makes a folder, as `make_folder`, for what is written meanwhile.

  After an error it is removed if it was not there before and is empty.
  """
  was_there = path.exists()
  make_folder(path)
  try:
    yield
  except BaseException:
    if not was_there and not any(path.iterdir()):
      path.rmdir()
    raise


def write_atomically(path: Path, content: str | bytes) -> None:
  """Writes a file so that a reader sees all of it or none.

  Raises:
    OSError: it cannot be written; names the file.
  """
  data = content.encode() if isinstance(content, str) else content
  with writing(path), replacing(path) as partial:
    partial.write_bytes(data)


def refuse_special(path: Path) -> None:
  """Refuses what is not there, and pipes and devices, which may never end.

  Raises:
    InputError: says which of them it is.
  """
  if path.is_file():
    return
  special = path.exists() and not path.is_dir()
  reason = "a pipe or device, not a file" if special else "no such file"
  raise InputError(f"{path}: {reason}")


def read_json(path: Path, advice: str) -> dict[str, Any]:
  """Reads a JSON file that holds an object.

  Args:
    path: the file.
    advice: what to do if it is damaged.

  Raises:
    InputError: it is missing, not JSON, or holds something else.
  """
  refuse_special(path)
  try:
    content = json.loads(path.read_bytes())
  except (OSError, ValueError, RecursionError) as error:
    reason = " ".join(str(error).split())
    raise InputError(f"{path}: damaged ({reason}); {advice}") from error
  if not isinstance(content, dict):
    raise InputError(f"{path}: damaged (no JSON object); {advice}")
  return content


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
  make_folder(path.parent)
  # Two processes may fetch at once; each writes a file of its own.
  own = path.with_name(f"{os.getpid()}-{path.name}")
  write_atomically(own, data)
  own.replace(path)
  return path


def _check(
  place: str | Path, digest: str, digests: Collection[str], advice: str
) -> None:
  if digest not in digests:
    raise InputError(
      f"{place}: its checksum {digest[:12]}… is not a known one; {advice}"
    )
