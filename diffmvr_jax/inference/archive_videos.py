"""Which videos an archive holds, and where their results go.

An archive is a folder, or a list of videos; either may lie in a bucket.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffmvr_jax.buckets import (
  Place,
  Version,
  copied,
  files_below,
  in_bucket,
  is_file,
  place,
  version,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.media.sources import IMAGES
from diffmvr_jax.media.video import SUFFIXES

_LIST = ".txt"
# Kinds of files that keep their kind; the others become Matroska.
_WRITTEN = {".mp4", ".mkv", ".mov", ".webm"}


@dataclass(frozen=True, kw_only=True)
class Job:
  """A video of an archive.

  Attributes:
    name: its path below the archive's folder.
    source: the video.
    version: of the video; None if there is no such file.
    out: its result.
  """

  name: str
  source: Place
  version: Version | None
  out: Place


def is_archive(name: str) -> bool:
  """Whether a source is a list, or a folder of videos and not of pictures."""
  path = place(name)
  if not name:  # which would be the working directory
    return False
  if not isinstance(path, Path):
    return True  # a single video is no archive, and is refused
  if not path.is_dir():
    return path.suffix.lower() == _LIST and path.is_file()
  if any(p.suffix.lower() in IMAGES for p in path.iterdir()):
    return False
  return any(True for _ in _videos_below(path))


def find_jobs(source: Place, out: Place) -> list[Job]:
  """Finds the videos of an archive.

  Args:
    source: a folder, or a list: a text file with a path in each line, absolute
      or below the list's folder.
    out: folder of the results; what lies in it is no source.

  Raises:
    InputError: the list names no video, or the same result twice; or a bucket
      cannot be read.
  """
  if source.suffix.lower() == _LIST and is_file(source):
    folder, paths = _listed(source)
    versions = [(path, version(path)) for path in paths]
  else:
    folder, versions = source, _versions_below(source)
    versions = [(p, v) for p, v in versions if not _is_below(p, out)]
  jobs = []
  for path, known in versions:
    name = path.relative_to(folder)
    kind = "" if path.suffix.lower() in _WRITTEN else ".mkv"
    result = out / name.with_name(name.name + kind)
    jobs.append(Job(name=str(name), source=path, version=known, out=result))
  results = Counter(job.out for job in jobs)
  twice = {str(path) for path, times in results.items() if times > 1}
  if twice or not jobs:
    wrong = f"two videos become {min(twice)}" if twice else "no video here"
    raise InputError(f"{source}: {wrong}")
  return jobs


def _versions_below(folder: Place) -> Sequence[tuple[Place, Version | None]]:
  if isinstance(folder, Path):
    return [(path, version(path)) for path in sorted(_videos_below(folder))]
  found = files_below(folder)
  if folder in found:
    raise InputError(f"{folder}: is one file; name its folder, or a list")
  return [item for item in found.items() if item[0].suffix.lower() in SUFFIXES]


def _videos_below(folder: Path) -> Iterator[Path]:
  for path in folder.rglob("*"):
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
      yield path


def _is_below(path: Place, folder: Place) -> bool:
  alike = in_bucket(path) == in_bucket(folder)
  return alike and path.is_relative_to(folder)


def _listed(file: Place) -> tuple[Place, list[Place]]:
  """The folder that all videos of a list lie below, and the videos."""
  with copied(file) as copy:
    try:
      lines = copy.read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
      raise InputError(f"{file}: cannot be read ({error.strerror})") from error
  named = [place(line.strip()) for line in lines if line.strip()]
  paths = [_from(file.parent, path) for path in named]
  if all(_is_below(path, file.parent) for path in paths):
    return file.parent, paths
  if not all(path.is_absolute() for path in named):
    raise InputError(
      f"{file}: a path leads out of its folder; make it absolute"
    )
  if len({in_bucket(path) for path in paths}) > 1:
    raise InputError(f"{file}: some videos lie in buckets, others do not")
  common = (
    folder
    for folder in paths[0].parents
    if all(_is_below(path, folder) for path in paths)
  )
  return next(common), paths


def _from(folder: Place, path: Place) -> Place:
  """A path that is meant from a folder on."""
  if in_bucket(path):
    return path
  joined = folder / path
  return joined if in_bucket(joined) else Path(os.path.normpath(joined))
