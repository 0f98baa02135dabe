"""Writes a data set: videos in parallel, one part each, resumable.

Each video is written to `parts/`, whole or not at all, with its statistics
beside it; a second run skips what is there. The shards' final names hold their
number, so they are given only when every video has its part or has failed
(`data_prep.dataset.finish`). So a kill at any point costs only the videos in
work, and the result is the same, byte for byte.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data_prep.dataset.finish import Splitting, finish
from data_prep.dataset.part import read_statistics
from data_prep.dataset.workers import write_parts
from data_prep.recipe import Recipe
from data_prep.sources import VideoSource, expand, frame_estimate, id_of
from diffmvr_jax.buckets import (
  Place,
  copied,
  files_below,
  is_file,
  uploaded,
)
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.errors import InputError, described
from diffmvr_jax.files import make_folder, read_json, write_atomically


def export(
  names: list[str],
  out: Place,
  recipe: Recipe,
  splitting: Splitting,
  *,
  workers: int = 1,
  engine: str | None = None,
  shard: tuple[int, int] = (0, 1),
  clips_per_portrait: int = 1,
) -> list[str]:
  """Exports videos to a folder of records.

  Args:
    names: files, folders, `portraits:DIR` or `procedural:FIRST-LAST`.
    out: folder of the data set.
    recipe: how the videos are prepared.
    splitting: how the videos are divided into splits.
    workers: number of processes.
    engine: Ray cluster that does their work, see
      `diffmvr_jax.engines.workers`; None means that they do it.
    shard: number of this task, from 0, and the number of tasks. Each task does
      its share of the videos; a last run without `shard` completes the data
      set.
    clips_per_portrait: number of clips that each portrait gives.

  Returns:
    A line for each video that failed.

  Raises:
    InputError: no video could be used, the folder holds another export, or the
      disk is full.
  """
  sources = expand(names, clips_per_portrait)
  settings = _settings(sources, recipe, splitting)
  finished = _open_folder(out, settings)
  if finished:
    print(f"{out}: already exported")
    return [f"{f['source']}: {f['error']}" for f in finished["failed"]]
  if engine is not None and (workers, shard) != (1, (0, 1)):
    raise InputError("--engine divides the work: no --workers, no --shard")
  recipe.check_detectors(sources)
  splitting.check()
  parts = out / "parts"
  try:
    if isinstance(parts, Path):
      make_folder(parts)
    with uploaded(parts / "settings.json") as file:
      write_atomically(file, json.dumps({"settings": settings}))
    failed = _write_missing_parts(
      sources, parts, recipe, workers=workers, engine=engine, shard=shard
    )
    if shard == (0, 1):
      finish(out, failed, settings, recipe, splitting)
    else:
      print(
        f"{out}: share {shard[0]}/{shard[1]} done; after all shares, run the "
        "command without --shard"
      )
  except OSError as error:
    error.filename = error.filename or str(out)
    raise InputError(f"{described(error)}; finished videos are kept") from error
  return [f"{source}: {error}" for source, error in failed.items()]


def _settings(
  sources: Sequence[VideoSource], recipe: Recipe, splitting: Splitting
) -> dict:
  """Everything that the records depend on, as JSON holds it."""
  settings = asdict(recipe) | asdict(splitting)
  settings |= {"sources": [str(s) for s in sources], "models": None}
  return json.loads(json.dumps(settings))


def _open_folder(out: Place, settings: dict) -> dict | None:
  """Returns the manifest if the data set in the folder is complete.

  Raises:
    InputError: there is something else.
  """
  if isinstance(out, Path) and out.exists() and not out.is_dir():
    raise InputError(f"{out}: is a file, not a folder")
  manifest = _read(out / "manifest.json", "settings", "failed")
  begun = manifest or _read(out / "parts" / "settings.json", "settings")
  if begun and begun["settings"] != settings:
    raise InputError(
      f"{out}: holds an export with other settings; choose another folder"
    )
  return manifest


@dataclass(frozen=True, kw_only=True)
class _Plan:
  """What a run has to do.

  Attributes:
    jobs: videos to write, with their parts.
    clashes: by video, why its name cannot be used.
    done: number of frames in the parts that are there; 0 for those in buckets.
    total: estimated number of frames in all parts.
  """

  jobs: list[tuple[VideoSource, Place]]
  clashes: dict[str, str]
  done: int
  total: int


def _plan(
  sources: Sequence[VideoSource], parts: Place, shard: tuple[int, int]
) -> _Plan:
  clashes: dict[str, str] = {}
  jobs: list[tuple[VideoSource, Place]] = []
  uploads = set() if isinstance(parts, Path) else set(files_below(parts))
  source_of: dict[str, VideoSource] = {}
  done = 0
  for number, source in enumerate(sources):
    name = id_of(source)
    if name in source_of:
      other = source_of[name]
      clashes[str(source)] = f"{other} has the same name; rename one of them"
      continue
    source_of[name] = source
    if number % shard[1] != shard[0]:
      continue
    part = parts / f"{name}.tfrecord"
    if isinstance(part, Path) and part.exists():
      done += read_statistics(part)["frames"]
    elif part not in uploads:
      jobs.append((source, part))
  total = done + sum(frame_estimate(source) for source, _ in jobs)
  return _Plan(jobs=jobs, clashes=clashes, done=done, total=total)


def _write_missing_parts(
  sources: Sequence[VideoSource],
  parts: Place,
  recipe: Recipe,
  *,
  workers: int,
  engine: str | None,
  shard: tuple[int, int],
) -> dict[str, str]:
  """Writes the parts that are missing; returns errors by source."""
  plan = _plan(sources, parts, shard)
  failed = dict(plan.clashes)
  with progress_bar(
    total=plan.total, initial=plan.done, unit="frame", desc="export"
  ) as progress:
    for source, error in plan.clashes.items():
      progress.write(f"skipped: {source}: {error}", file=sys.stderr)
    for source, error in write_parts(
      plan.jobs, recipe, workers=workers, engine=engine, progress=progress
    ):
      if error:
        failed[str(source)] = error
        progress.write(f"skipped: {source}: {error}", file=sys.stderr)
  return failed


def _read(path: Place, *keys: str) -> dict | None:
  """Reads one of the files that an export writes; None if it is not there."""
  if not (path.exists() if isinstance(path, Path) else is_file(path)):
    return None
  advice = "delete the folder and export again"
  with copied(path) as copy:
    content = read_json(copy, advice)
  missing = [key for key in keys if key not in content]
  failed = content.get("failed", [])
  whole = isinstance(failed, list) and all(
    isinstance(item, dict) and {"source", "error"} <= item.keys()
    for item in failed
  )
  if missing or not whole:
    raise InputError(
      f"{path}: damaged (no {', '.join(missing) or 'failed'}); {advice}"
    )
  return content
