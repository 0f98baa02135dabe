"""Files in buckets, `gs://BUCKET/…` and `s3://BUCKET/…`, by fsspec.

FFmpeg and our readers want files on a disk. So what is read is copied to a
private temporary folder, and what is written is written there and then uploaded
whole. A killed process leaves its temporary folder behind, named `diffmvr-…`,
but never half a file in the bucket.

Who may use a bucket is the business of gcsfs and s3fs, and of the settings of
Google's and Amazon's own tools, which they read.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import fsspec
from etils import epath

from diffmvr_jax.errors import InputError

# By scheme: the package that fsspec needs, and a command that lists a bucket.
_PACKAGES = {"gs": "gcsfs", "s3": "s3fs"}
_COMMANDS = {"gs": "gcloud storage ls", "s3": "aws s3 ls"}
_PREFIXES = tuple(f"{scheme}://" for scheme in _PACKAGES)

# On a disk, or in a bucket.
Place: TypeAlias = Path | epath.Path


@dataclass(frozen=True)
class Version:
  """What tells a file from what it was before.

  Attributes:
    bytes: its size.
    modified: when it was modified, in nanoseconds; in a bucket its checksum.
  """

  bytes: int
  modified: str


def place(name: str | os.PathLike[str]) -> Place:
  """The file or folder that a name stands for.

  Example:
    >>> str(place("s3://bucket/videos") / "a.mp4")
    's3://bucket/videos/a.mp4'
  """
  text = os.fspath(name)
  return epath.Path(text) if in_bucket(text) else Path(text)


def in_bucket(name: str | os.PathLike[str]) -> bool:
  """Whether a name is that of a file or folder in a bucket."""
  return os.fspath(name).startswith(_PREFIXES)


def files_below(folder: epath.Path) -> dict[epath.Path, Version]:
  """All files below a folder in a bucket.

  Returns:
    Each file and its version, in the order of their names; none if there is no
    such folder.

  Raises:
    InputError: the bucket is not there, or may not be read.
  """
  with _refusals(folder):
    system = _system(folder)
    system.invalidate_cache()
    found = system.find(_key(folder), detail=True)
    return {
      epath.Path(system.unstrip_protocol(key)): _version(known)
      for key, known in sorted(found.items())
      if known["type"] == "file" and not key.endswith("/")
    }


def version(path: Place) -> Version | None:
  """The version of a file; None if there is no such file.

  Raises:
    InputError: the bucket may not be read.
  """
  if isinstance(path, Path):
    try:
      known = path.stat()
    except OSError:
      return None
    return Version(known.st_size, str(known.st_mtime_ns))
  with _refusals(path):
    known = _info(path)
    return None if known is None else _version(known)


def is_file(path: Place) -> bool:
  """Whether there is such a file.

  Raises:
    InputError: the bucket may not be read.
  """
  if isinstance(path, Path):
    return path.is_file()
  return _kind(path) == "file"


def entries(folder: Place) -> dict[Place, bool]:
  """What lies in a folder, and for each whether it is a folder itself.

  Raises:
    InputError: there is no such folder, or it may not be read.
  """
  if isinstance(folder, Path):
    return {path: path.is_dir() for path in sorted(folder.iterdir())}
  with _refusals(folder):
    system = _system(folder)
    system.invalidate_cache()
    found = system.ls(_key(folder), detail=True)
    return {
      place(system.unstrip_protocol(known["name"])): known["type"] != "file"
      for known in sorted(found, key=lambda known: known["name"])
      if not known["name"].endswith("/")
    }


def is_folder(path: Place) -> bool:
  """Whether there is such a folder.

  Raises:
    InputError: the bucket may not be read.
  """
  if isinstance(path, Path):
    return path.is_dir()
  return _kind(path) not in (None, "file")


def read_bytes(path: epath.Path, start: int, length: int) -> bytes:
  """A part of a file in a bucket; fewer bytes if it ends before.

  Raises:
    InputError: it cannot be read.
  """
  with _refusals(path):
    return _system(path).cat_file(_key(path), start=start, end=start + length)


@contextmanager
def copied(path: Place) -> Iterator[Path]:
  """Gives a file or a folder as one on a disk.

  What is in a bucket is copied, and the copy is removed at the end. An error
  that names the copy names the original in its place.

  Raises:
    InputError: there is no such file, or it may not be read.
  """
  if isinstance(path, Path):
    yield path
    return
  with _temporary(path) as copy:
    with _refusals(path):
      known, key = _info(path), _key(path)
      if known is None:
        raise InputError(f"{path}: no such file or folder")
      if known["type"] == "file":
        _system(path).get_file(key, str(copy))
      else:
        _system(path).get(f"{key}/", f"{copy}/", recursive=True)
    yield copy


@contextmanager
def uploaded(path: Place, *, last: str | None = None) -> Iterator[Path]:
  """Gives a file or a folder on a disk, which at the end becomes `path`.

  After an error nothing of it is in the bucket. If `path` is on a disk itself,
  it is what is given.

  Args:
    path: a file that may be there, or a folder.
    last: name of the file of a folder that comes after the others.

  Raises:
    InputError: the bucket is not there, or may not be written.
  """
  if isinstance(path, Path):
    yield path
    return
  with _temporary(path) as made:
    yield made
    files = {path: made} if made.is_file() else _below(made, path, last)
    with _refusals(path):
      for target, file in files.items():
        _system(path).put_file(str(file), _key(target))


def remove_below(folder: epath.Path) -> None:
  """Removes all files below a folder in a bucket."""
  with _refusals(folder):
    system = _system(folder)
    keys = [_key(path) for path in files_below(folder)]
    if keys:
      system.rm(keys)


def _below(
  made: Path, path: epath.Path, last: str | None
) -> dict[epath.Path, Path]:
  files = [file for file in made.rglob("*") if file.is_file()]
  files.sort(key=lambda file: (file.name == last, file))
  return {path / file.relative_to(made).as_posix(): file for file in files}


@contextmanager
def _temporary(path: PurePosixPath) -> Iterator[Path]:
  """A path of this name in a private folder, which is removed at the end."""
  with tempfile.TemporaryDirectory(prefix="diffmvr-") as folder:
    copy = Path(folder) / path.name
    try:
      yield copy
    except InputError as error:
      text = str(error).replace(str(copy), str(path))
      raise type(error)(text) from error


def _system(path: PurePosixPath) -> Any:
  return fsspec.filesystem(path.parts[1])  # parts are "/", scheme, bucket, …


def _key(path: PurePosixPath) -> str:
  return "/".join(path.parts[2:])


def _info(path: PurePosixPath) -> dict[str, Any] | None:
  """What fsspec knows of a file or folder; None if there is none."""
  system = _system(path)
  system.invalidate_cache()
  try:  # isfile and isdir call every failure a no
    return system.info(_key(path))
  except FileNotFoundError:
    return None


def _kind(path: PurePosixPath) -> str | None:
  """What fsspec calls a file, a folder or a bucket; None if there is none."""
  with _refusals(path):
    known = _info(path)
    return None if known is None else known["type"]


def _version(known: dict[str, Any]) -> Version:
  # Google has an MD5 for most files, both have an ETag for all.
  return Version(known["size"], str(known.get("ETag") or known.get("etag")))


@contextmanager
def _refusals(path: PurePosixPath) -> Iterator[None]:
  """Says in one line what went wrong between us and a bucket.

  Raises:
    InputError: whatever was raised; gcsfs and s3fs pass on errors of many
      classes of the packages below them.
  """
  try:
    yield
  except InputError:
    raise
  except ImportError as error:
    package = _PACKAGES[path.parts[1]]
    raise InputError(
      f"{path}: {package} is missing; pip install 'diffmvr-jax[buckets]'"
    ) from error
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    raise InputError(f"{path}: {reason}; {_advice(path, error)}") from error


def _advice(path: PurePosixPath, error: Exception) -> str:
  bucket = "/".join(path.parts[2:3])
  if isinstance(error, FileNotFoundError):
    return f"is there a bucket {bucket!r}?"
  command = _COMMANDS[path.parts[1]]
  return f"may this account use it? `{command}` should list {bucket!r}"
