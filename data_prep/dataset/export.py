"""Writes a data set: videos in parallel, one part each, resumable.

Each video is written to `parts/`, whole or not at all, with its statistics
beside it; a second run skips what is there. Only when every video has its part
or has failed do the shards get their final names, which hold their number
(`data_prep.dataset.finish`). So a kill at any point costs the videos in work,
and what comes out is the same, byte for byte.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import cv2
from tqdm import tqdm

from data_prep.dataset.finish import Splitting, finish
from data_prep.prepare import SkippedFrame
from data_prep.recipe import Recipe
from data_prep.sources import PortraitSource, expand, frame_estimate, id_of
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.data.records import ShardWriter
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import write_atomically

Source = Path | int | PortraitSource
Tick = Callable[[], object]


@dataclass(kw_only=True)
class VideoStatistics:
  """What became of one video's frames.

  Attributes:
    video_id: names the part.
    source: path of the video.
    sha256: of the video.
    fps: exact, as a fraction.
    frames: of the video.
    exported: frames with a record.
    occluded: frames with an occlusion.
    occlusion: mean share of the crop over these.
    symmetric_valid: occluded frames with a symmetric image.
    past_valid: occluded frames with a past frame.
    skipped: runs of frames without a record: first, last, reason.
  """

  video_id: str
  source: str
  sha256: str = ""
  fps: str = ""
  frames: int = 0
  exported: int = 0
  occluded: int = 0
  occlusion: float = 0.0
  symmetric_valid: int = 0
  past_valid: int = 0
  skipped: list[tuple[int, int, str]] = field(default_factory=list)

  def add(self, item: FrameRecord | SkippedFrame) -> None:
    """Counts a frame."""
    self.frames += 1
    if isinstance(item, SkippedFrame):
      i, reason = item.frame_index, item.reason
      if self.skipped and self.skipped[-1][1:] == (i - 1, reason):
        self.skipped[-1] = (self.skipped[-1][0], i, reason)
      else:
        self.skipped.append((i, i, reason))
      return
    self.sha256, self.fps = item.source_sha256, str(item.fps)
    self.exported += 1
    if item.mask.any():
      share = float(item.mask.mean())
      self.occlusion += (share - self.occlusion) / (self.occluded + 1)
      self.occluded += 1
      self.symmetric_valid += item.symmetric_valid
      self.past_valid += item.past_index >= 0


class _Stopped(Exception):
  """The export is over before its end: this is no fault of the video."""


def export(
  names: list[str],
  out: Path,
  recipe: Recipe,
  splitting: Splitting,
  *,
  workers: int = 1,
  shard: tuple[int, int] = (0, 1),
  clips_per_portrait: int = 1,
) -> list[str]:
  """Exports videos to a folder of records.

  Args:
    names: files, folders, `portraits:DIR` or `procedural:FIRST-LAST`.
    out: the data set's folder.
    recipe: what to do with every video.
    splitting: which of them to train on.
    workers: processes.
    shard: number of this task, from 0, and how many there are. Each does its
      share of the videos; a last run without `shard` completes the data set.
    clips_per_portrait: how many clips each portrait gives.

  Returns:
    A line for each video that failed.

  Raises:
    InputError: no video could be used; the folder holds another export; the
      disk is full.
  """
  sources = expand(names, clips_per_portrait)
  if out.exists() and not out.is_dir():
    raise InputError(f"{out}: is a file, not a folder")
  settings = json.loads(
    json.dumps(
      asdict(recipe)
      | asdict(splitting)
      | {"sources": [str(s) for s in sources], "models": None}
    )
  )
  manifest = _read_json(out / "manifest.json")
  parts = out / "parts"
  begun = manifest or _read_json(parts / "settings.json")
  if begun and begun["settings"] != settings:
    raise InputError(
      f"{out}: holds an export with other settings; choose another folder"
    )
  if manifest:
    print(f"{out}: already exported")
    return [f"{f['source']}: {f['error']}" for f in manifest["failed"]]
  recipe.check(sources)
  splitting.of(())  # reads the table of subjects
  try:
    parts.mkdir(parents=True, exist_ok=True)
    write_atomically(
      parts / "settings.json", json.dumps({"settings": settings})
    )
    failed = _write_parts(sources, parts, recipe, workers=workers, shard=shard)
    if shard == (0, 1):
      finish(out, failed, settings, recipe, splitting)
    else:
      print(
        f"{out}: share {shard[0]}/{shard[1]} done; after all shares, run the "
        "command without --shard"
      )
  except OSError as error:
    raise InputError(
      f"{error.filename or out}: cannot be written ({error.strerror}); make "
      "room and run the command again, finished videos are kept"
    ) from error
  return [f"{source}: {error}" for source, error in failed.items()]


def _write_parts(
  sources: list[Source],
  parts: Path,
  recipe: Recipe,
  *,
  workers: int,
  shard: tuple[int, int],
) -> dict[str, str]:
  """Writes the parts that are missing; returns errors by source."""
  failed: dict[str, str] = {}
  jobs: list[tuple[Source, Path]] = []
  seen: dict[str, Source] = {}
  frames = done = 0
  for number, source in enumerate(sources):
    name = id_of(source)
    if name in seen:
      failed[str(source)] = (
        f"{seen[name]} has the same name; rename one of them"
      )
      continue
    seen[name] = source
    if number % shard[1] != shard[0]:
      continue
    part = parts / f"{name}.tfrecord"
    if part.exists():
      count = json.loads(part.with_suffix(".json").read_text())["frames"]
      done += count
      frames += count
    else:
      jobs.append((source, part))
      frames += frame_estimate(source)
  with tqdm(
    total=frames, initial=done, unit="frame", desc="export", file=sys.stderr
  ) as progress:
    for error in failed.items():
      progress.write(f"skipped: {': '.join(error)}", file=sys.stderr)
    run = _in_processes if workers > 1 else _in_turn
    for source, error in run(jobs, recipe, workers, progress):
      if error:
        failed[str(source)] = error
        progress.write(f"skipped: {source}: {error}", file=sys.stderr)
  return failed


def write_part(source: Source, part: Path, recipe: Recipe, tick: Tick) -> str:
  """Prepares one video and writes its records and statistics.

  Args:
    source: the video.
    part: where its shard goes.
    recipe: what to do with it.
    tick: called after every frame.

  Returns:
    What is wrong with the video; nothing if it was written.

  Raises:
    OSError: the disk does not take it.
  """
  statistics = VideoStatistics(video_id=part.stem, source=str(source))
  try:
    with ShardWriter(part) as writer:
      for item in recipe.records(source):
        statistics.add(item)
        if isinstance(item, FrameRecord):
          writer.write(item)
        tick()
      if not statistics.exported:
        raise InputError(
          f"{source}: no face in any of its {statistics.frames} frames"
        )
      # Before the shard appears: where that is, these are.
      write_atomically(
        part.with_suffix(".json"), json.dumps(asdict(statistics))
      )
  except InputError as error:
    return str(error).removeprefix(f"{source}: ")
  return ""


def _in_turn(
  jobs: list[tuple[Source, Path]], recipe: Recipe, workers: int, progress: tqdm
) -> Iterator[tuple[Source, str]]:
  del workers
  for source, part in jobs:
    yield source, write_part(source, part, recipe, progress.update)


def _in_processes(
  jobs: list[tuple[Source, Path]], recipe: Recipe, workers: int, progress: tqdm
) -> Iterator[tuple[Source, str]]:
  # Forking would copy the threads' locks of MediaPipe and PyTorch.
  context = get_context("spawn")
  counter, stop = context.Value("q", 0), context.Event()
  with ProcessPoolExecutor(
    workers, context, _start_worker, (counter, stop, os.getpid())
  ) as pool:
    waiting: dict[Future, Source] = {
      pool.submit(_work, source, part, recipe): source for source, part in jobs
    }
    with _stopping(stop, pool):
      while waiting:
        finished, _ = wait(waiting, timeout=0.5, return_when="FIRST_COMPLETED")
        progress.update(progress.initial + counter.value - progress.n)
        for future in finished:
          try:
            yield waiting.pop(future), future.result()
          except BrokenProcessPool as error:
            raise InputError(
              "a worker process died, perhaps for want of memory; run the "
              "command again with fewer --workers, finished videos are kept"
            ) from error


@contextmanager
def _stopping(stop, pool: ProcessPoolExecutor) -> Iterator[None]:
  """Lets the workers stop within a frame when the loop is left by an error."""
  try:
    yield
  except BaseException:
    stop.set()
    pool.shutdown(wait=True, cancel_futures=True)
    raise


# Of a worker process; synchronised values travel only when it starts.
_tick: Tick


def _start_worker(counter, stop, parent: int) -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
  cv2.setNumThreads(1)  # the processes share the cores already

  global _tick

  def tick() -> None:
    with counter.get_lock():
      counter.value += 1
    if stop.is_set() or os.getppid() != parent:
      raise _Stopped

  _tick = tick


def _work(source: Source, part: Path, recipe: Recipe) -> str:
  return write_part(source, part, recipe, _tick)


def _read_json(path: Path) -> dict | None:
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    return None
  except ValueError as error:
    raise InputError(
      f"{path}: damaged ({error}); delete the folder and export again"
    ) from error
