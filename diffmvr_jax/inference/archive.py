"""Restores every video of a folder or a list, and keeps account of them.

The results have the same paths below their folder. `manifest.csv` there has a
row for each video; a video whose row says that it is finished, from the same
file and with the same settings, is not restored again. A video that cannot be
used costs itself alone.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from diffmvr_jax.command_line.terminal import note, progress_bar
from diffmvr_jax.engines.workers import Workers
from diffmvr_jax.errors import InputError, PartlyDoneError
from diffmvr_jax.files import make_folder, replacing, writing
from diffmvr_jax.media.sources import IMAGES
from diffmvr_jax.media.video import SUFFIXES, frame_estimate

MANIFEST = "manifest.csv"
_LIST = ".txt"
# Kinds of files that keep their kind; the others become Matroska.
_WRITTEN = {".mp4", ".mkv", ".mov", ".webm"}


@dataclass(frozen=True, kw_only=True)
class Job:
  """A video of an archive.

  Attributes:
    name: its path below the archive's folder.
    source: the video.
    out: its result.
  """

  name: str
  source: Path
  out: Path


@dataclass(frozen=True, kw_only=True)
class Row:
  """A row of the manifest; all of it is text.

  Attributes:
    source: path of the video below the archive's folder.
    bytes: size of the video.
    modified: when it was modified, in nanoseconds.
    settings: what stands for everything that the result depends on.
    frames: number of its frames.
    restored: number of frames that were changed.
    without_face: share of frames without a face; empty if none was looked for.
    checkpoint: what restored it.
    seconds: how long that took.
    error: why it failed; empty if it did not.
  """

  source: str
  bytes: str
  modified: str
  settings: str
  frames: str = ""
  restored: str = ""
  without_face: str = ""
  checkpoint: str = ""
  seconds: str = ""
  error: str = ""


_COLUMNS = [field.name for field in fields(Row)]


def is_archive(name: str) -> bool:
  """Whether a source is a list, or a folder of videos and not of pictures."""
  path = Path(name)
  if not name:  # which would be the working directory
    return False
  if not path.is_dir():
    return path.suffix.lower() == _LIST and path.is_file()
  if any(p.suffix.lower() in IMAGES for p in path.iterdir()):
    return False
  return any(True for _ in _videos_below(path))


def find_jobs(source: Path, out: Path) -> list[Job]:
  """Finds the videos of an archive.

  Args:
    source: a folder, or a list: a text file with a path in each line, absolute
      or below the list's folder.
    out: folder of the results; what lies in it is no source.

  Raises:
    InputError: the list names no video, or the same result twice.
  """
  if source.is_dir():
    folder, paths = source, sorted(_videos_below(source))
    paths = [path for path in paths if not path.is_relative_to(out)]
  else:
    folder, paths = _listed(source)
  jobs = []
  for path in paths:
    name = path.relative_to(folder)
    kind = "" if path.suffix.lower() in _WRITTEN else ".mkv"
    result = out / name.with_name(name.name + kind)
    jobs.append(Job(name=str(name), source=path, out=result))
  results = [job.out for job in jobs]
  twice = {str(path) for path in results if results.count(path) > 1}
  if twice or not jobs:
    wrong = f"two videos become {min(twice)}" if twice else "no video here"
    raise InputError(f"{source}: {wrong}")
  return jobs


def _videos_below(folder: Path) -> Iterator[Path]:
  for path in folder.rglob("*"):
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
      yield path


def _listed(file: Path) -> tuple[Path, list[Path]]:
  try:
    lines = file.read_text("utf-8", "surrogateescape").splitlines()
  except OSError as error:
    raise InputError(f"{file}: cannot be read ({error.strerror})") from error
  named = [Path(line.strip()) for line in lines if line.strip()]
  paths = [Path(os.path.normpath(file.parent / path)) for path in named]
  if all(path.is_relative_to(file.parent) for path in paths):
    return file.parent, paths
  if not all(path.is_absolute() for path in named):
    raise InputError(
      f"{file}: a path leads out of its folder; make it absolute"
    )
  return Path(os.path.commonpath([path.parent for path in paths])), paths


class Manifest:
  """The rows of an archive, which grow by one for each video.

  Args:
    out: folder of the results.

  Raises:
    InputError: the folder holds something else.
  """

  def __init__(self, out: Path):
    self._path = out / MANIFEST
    self._rows: dict[str, Row] = {}
    if self._path.is_file():
      self._rows = {row.source: row for row in _read_rows(self._path)}
      if not self._path.read_bytes().endswith(b"\n"):
        self.tidy(list(self._rows))  # a killed process may leave half a row
    elif out.is_dir() and any(out.iterdir()):
      raise InputError(
        f"{out}: is not empty and has no {MANIFEST}; name a new folder"
      )
    elif out.exists() and not out.is_dir():
      raise InputError(f"{out}: is a file; name a folder")

  def finished(self, job: Job, settings: str) -> Row | None:
    """The row of a video that need not be restored again."""
    row = self._rows.get(job.name)
    begun = begun_row(job, settings)
    same = row is not None and row.settings == settings and not row.error
    if same and job.out.exists():
      assert row is not None
      if (row.bytes, row.modified) == (begun.bytes, begun.modified):
        return row
    return None

  def add(self, row: Row) -> None:
    """Adds a row to the file, at once."""
    new = not self._path.exists()
    self._rows[row.source] = row
    make_folder(self._path.parent)
    with writing(self._path), _open(self._path, "a") as file:
      writer = csv.DictWriter(file, _COLUMNS)
      if new:
        writer.writeheader()
      writer.writerow(asdict(row))

  def tidy(self, names: Sequence[str]) -> None:
    """Writes the file anew: one row for each name, in their order."""
    with (
      writing(self._path),
      replacing(self._path) as partial,
      _open(partial, "w") as file,
    ):
      writer = csv.DictWriter(file, _COLUMNS)
      writer.writeheader()
      for name in names:
        writer.writerow(asdict(self._rows[name]))


def _read_rows(path: Path) -> Iterator[Row]:
  try:
    with _open(path, "r") as file:
      reader = csv.DictReader(file, strict=False)
      if reader.fieldnames != _COLUMNS:
        raise InputError(f"{path}: other columns; name a new folder")
      for told in reader:
        whole = None not in told and None not in told.values()
        if whole and (told["error"] or told["frames"].isdecimal()):
          yield Row(**told)
  except (OSError, csv.Error) as error:
    raise InputError(f"{path}: damaged ({error}); name a new folder") from error


def _open(path: Path, mode: str) -> Any:
  # Names need not be UTF-8.
  return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")


def begun_row(job: Job, settings: str) -> Row:
  """The row of a video of which only the file is known."""
  try:
    known = job.source.stat()
  except OSError:  # the error is reported when it is opened
    return Row(source=job.name, bytes="", modified="", settings=settings)
  return Row(
    source=job.name,
    bytes=str(known.st_size),
    modified=str(known.st_mtime_ns),
    settings=settings,
  )


def restore_archive(
  source: Path, out: Path, workers: Workers, *, checkpoint: str
) -> Iterator[str]:
  """Restores what is not finished.

  Args:
    source: folder or list.
    out: folder of the results.
    workers: each makes a `Row` of a `Job`, once its result is written; what is
      the same for all, `about`, stands for everything that a result depends on
      besides its video.
    checkpoint: what restores, for the manifest.

  Yields:
    What was done.

  Raises:
    InputError: the archive or the folder of the results cannot be used.
    PartlyDoneError: some videos failed; a line has said why for each.
    OSError: the disk does not take the results.
  """
  if out.resolve() == source.resolve():
    raise InputError(f"{out}: would overwrite the sources")
  jobs, manifest = find_jobs(source, out), Manifest(out)
  finished = {job.name: manifest.finished(job, workers.about) for job in jobs}
  waiting = [job for job in jobs if finished[job.name] is None]
  failed: dict[str, str] = {}
  done = sum(int(row.frames) for row in finished.values() if row is not None)
  total = done + sum(_estimate(job) for job in waiting)
  with progress_bar(total=total or None, initial=done, unit="frame") as bar:
    for job, row in workers.work(waiting, bar.update):
      if isinstance(row, InputError):
        known = begun_row(job, workers.about)
        text = " ".join(str(row).split()).removeprefix(f"{job.source}: ")
        failed[job.name] = text
        row = replace(known, checkpoint=checkpoint, error=text)
      manifest.add(row)
  manifest.tidy([job.name for job in jobs])
  yield (
    f"{out}: {len(waiting) - len(failed)} videos restored, "
    f"{len(jobs) - len(waiting)} were finished before"
  )
  for name in sorted(failed, key=[job.name for job in jobs].index):
    note(f"failed: {name}: {failed[name]}")
  if failed:
    raise PartlyDoneError(
      f"{len(failed)} of {len(jobs)} videos failed, see above and {MANIFEST}; "
      "the same command tries them again"
    )


def _estimate(job: Job) -> int:
  try:
    return frame_estimate(job.source)
  except InputError:
    return 0  # the error is reported when the video is restored
