"""Restores every video of a folder or a list, and keeps account of them.

The results have the same paths below their folder. `manifest.csv` there has a
row for each video; a video whose row says that it is finished, from the same
file and with the same settings, is not restored again. A video that cannot be
used costs itself alone.

The archive and the results may each lie in a bucket, see `diffmvr_jax.buckets`.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from diffmvr_jax.buckets import (
  Place,
  copied,
  files_below,
  in_bucket,
  uploaded,
)
from diffmvr_jax.command_line.terminal import note, progress_bar
from diffmvr_jax.engines.workers import Workers
from diffmvr_jax.errors import InputError, PartlyDoneError
from diffmvr_jax.files import make_folder, replacing, writing
from diffmvr_jax.inference.archive_videos import Job, find_jobs
from diffmvr_jax.media.video import frame_estimate

MANIFEST = "manifest.csv"


@dataclass(frozen=True, kw_only=True)
class Row:
  """A row of the manifest; all of it is text.

  Attributes:
    source: path of the video below the archive's folder.
    bytes: size of the video.
    modified: when it was modified, see `Version`.
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


class Manifest:
  """The rows of an archive, which grow by one for each video.

  Args:
    out: folder of the results.

  Raises:
    InputError: the folder holds something else.
  """

  def __init__(self, out: Place):
    self._path = out / MANIFEST
    self._rows: dict[str, Row] = {}
    # Asked once: a question to a bucket takes a while.
    self._there = None if isinstance(out, Path) else files_below(out).keys()
    if self._exists(self._path):
      with copied(self._path) as copy:
        self._rows = {row.source: row for row in _read_rows(copy)}
        whole = copy.read_bytes().endswith(b"\n")
      if not whole:
        self.tidy(list(self._rows))  # a killed process may leave half a row
    elif self._there or (
      isinstance(out, Path) and out.is_dir() and any(out.iterdir())
    ):
      raise InputError(
        f"{out}: is not empty and has no {MANIFEST}; name a new folder"
      )
    elif isinstance(out, Path) and out.exists() and not out.is_dir():
      raise InputError(f"{out}: is a file; name a folder")

  def _exists(self, path: Place) -> bool:
    if self._there is not None:
      return path in self._there
    assert isinstance(path, Path)
    return path.exists()

  def finished(self, job: Job, settings: str) -> Row | None:
    """The row of a video that need not be restored again."""
    row = self._rows.get(job.name)
    begun = begun_row(job, settings)
    same = row is not None and row.settings == settings and not row.error
    if same and self._exists(job.out):
      assert row is not None
      if (row.bytes, row.modified) == (begun.bytes, begun.modified):
        return row
    return None

  def add(self, row: Row) -> None:
    """Adds a row to the file, at once."""
    self._rows[row.source] = row
    if not isinstance(self._path, Path):  # files in buckets do not grow
      self.tidy(list(self._rows))
      return
    new = not self._path.exists()
    make_folder(self._path.parent)
    with writing(self._path), _open(self._path, "a") as file:
      writer = csv.DictWriter(file, _COLUMNS)
      if new:
        writer.writeheader()
      writer.writerow(asdict(row))

  def tidy(self, names: Sequence[str]) -> None:
    """Writes the file anew: one row for each name, in their order."""
    with (
      uploaded(self._path) as path,
      writing(path),
      replacing(path) as partial,
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
  known = job.version
  if known is None:  # the error is reported when it is opened
    return Row(source=job.name, bytes="", modified="", settings=settings)
  return Row(
    source=job.name,
    bytes=str(known.bytes),
    modified=known.modified,
    settings=settings,
  )


def restore_archive(
  source: Place, out: Place, workers: Workers, *, checkpoint: str
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
  if _resolved(out) == _resolved(source):
    raise InputError(f"{out}: would overwrite the sources")
  jobs, manifest = find_jobs(source, out), Manifest(out)
  finished = {job.name: manifest.finished(job, workers.about) for job in jobs}
  waiting = [job for job in jobs if finished[job.name] is None]
  failed: dict[str, str] = {}
  remote = in_bucket(jobs[0].source)  # where bytes are known, frames are not
  done = sum(
    _amount(job) if remote else int(row.frames)
    for job in jobs
    if (row := finished[job.name]) is not None
  )
  total = done + sum(_amount(job) for job in waiting)
  with progress_bar(
    total=total or None,
    initial=done,
    unit="B" if remote else "frame",
    unit_scale=remote,
  ) as bar:
    for job, row in workers.work(
      waiting, (lambda frames: None) if remote else bar.update
    ):
      if remote:
        bar.update(_amount(job))
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
  for name in (job.name for job in jobs if job.name in failed):
    note(f"failed: {name}: {failed[name]}")
  if failed:
    raise PartlyDoneError(
      f"{len(failed)} of {len(jobs)} videos failed, see above and {MANIFEST}; "
      "the same command tries them again"
    )


def _resolved(folder: Place) -> Place:
  return folder.resolve() if isinstance(folder, Path) else folder


def _amount(job: Job) -> int:
  """What a video adds to the progress: frames, or bytes of one in a bucket."""
  if not isinstance(job.source, Path):
    return 0 if job.version is None else job.version.bytes
  try:
    return frame_estimate(job.source)
  except InputError:
    return 0  # the error is reported when the video is restored
