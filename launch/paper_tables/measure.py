"""Measures the methods of a table, and keeps what is measured.

Each method's scores on a folder of records are one JSON file. While a method is
at work, the clips that it has restored lie beside that file as pictures, so a
run that is stopped loses one clip.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import PROPAGATED, SOURCES, Window
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluation.clips import (
  Method,
  evaluate_clips,
  from_folder,
  from_function,
  protocol_of,
)
from diffmvr_jax.evaluation.summary import device
from diffmvr_jax.evaluation.video_pairs import read_video
from diffmvr_jax.files import make_folder, read_json, write_atomically
from diffmvr_jax.inference.baselines import BASELINES
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.media.pictures import write_pictures
from diffmvr_jax.metrics.accumulators import Measurements
from diffmvr_jax.metrics.pretrained import LoadedNetworks
from launch.paper_tables.methods_file import MethodEntry


@dataclass(frozen=True, kw_only=True)
class Settings:
  """What the scores of a method depend on beside the method and its data.

  Attributes:
    split: split of the records.
    limit: number of clips that are measured; None means all.
    seed: seed of the models' noise.
  """

  split: str = "test"
  limit: int | None = None
  seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
  """Scores of a method on a folder of records.

  Attributes:
    scores: values by metric; empty if `problem` says why.
    videos: number of clips.
    frames: number of frames.
    original: whether the covered frame itself was the truth.
    protocol: how another program made its results, if it says so.
    problem: why there are no scores.
  """

  scores: dict[str, float]
  videos: int = 0
  frames: int = 0
  original: bool = False
  protocol: str = ""
  problem: str = ""


def measure(
  method: MethodEntry,
  data: Path,
  out: Path,
  settings: Settings,
  loaded: LoadedNetworks,
) -> Measured:
  """Measures a method on a folder of records, or reads what is measured.

  What cannot be measured, because a model or a folder is missing, has a
  problem and no scores.

  Args:
    method: the method.
    data: folder of records.
    out: folder of all scores.
    settings: what they depend on.
    loaded: networks of metrics.

  Raises:
    InputError: the file there is of other settings.
  """
  path = out / data.name / f"{method.name}.json"
  results = _results(method, data)
  try:
    records = RecordSource(data, settings.split)
    description, made, arrays = _opened(method, results, settings.seed)
  except InputError as error:
    return Measured(scores={}, problem=str(error))
  facts = _facts(method, description, records, settings)
  known = _read(path, facts, loaded.digests)
  if known is not None:
    return known
  print(f"{data.name}: {method.name}", flush=True)
  unfinished = path.with_suffix(".restored")
  if method.kind == "checkpoint":
    made = _kept(made, unfinished, facts)
  try:
    by_video = evaluate_clips(
      {"method": made},
      records,
      loaded.networks,
      arrays=arrays,
      part=slice(settings.limit),
      against_original=True,
    )["method"]
  except InputError as error:
    return Measured(scores={}, problem=str(error))
  lengths = [len(p) for _, p in list(records.videos())[: settings.limit]]
  measured = Measured(
    scores=sum(by_video.values(), Measurements()).values(),
    videos=len(by_video),
    frames=sum(lengths),
    original=records[0].target is None,
    protocol=protocol_of(results) if results is not None else "",
  )
  content = facts | {
    "measured": asdict(measured),
    "weights": loaded.digests,
    "device": device(),
  }
  make_folder(path.parent)
  write_atomically(path, json.dumps(content, indent=2))
  shutil.rmtree(unfinished, ignore_errors=True)
  return measured


def _facts(
  method: MethodEntry, description: str, records: RecordSource, given: Settings
) -> dict[str, Any]:
  return {
    "method": asdict(method) | {"overrides": list(method.overrides)},
    "description": description,
    "records": repr(records),
    "settings": asdict(given),
  }


def _opened(
  method: MethodEntry, results: Path | None, seed: int
) -> tuple[str, Method, tuple[str, ...]]:
  """What identifies a method, the method, and the arrays that it reads."""
  if method.kind == "checkpoint":
    restorer = CropRestorer.from_checkpoint(method.where, method.overrides)
    made = from_function(partial(restorer, seed=seed))
    return restorer.checkpoint, made, restorer.arrays
  if results is not None:
    if not results.is_dir():
      raise InputError(f"{results}: no such folder of results")
    return _state(results), from_folder(results), ()
  baseline = BASELINES[method.where]
  return method.where, from_function(baseline), (*PROPAGATED, *SOURCES)


def _results(method: MethodEntry, data: Path) -> Path | None:
  """The folder of another program's results; None for other methods."""
  if method.kind != "results":
    return None
  return Path(method.where.format(data=data.name))


def _state(results: Path) -> str:
  """What changes if another program's results do: names and sizes of files."""
  files = sorted(path for path in results.rglob("*") if path.is_file())
  names = [f"{p.relative_to(results)} {p.stat().st_size}" for p in files]
  digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape"))
  return f"{results}, {len(files)} files, {digest.hexdigest()}"


def _kept(
  method: Method, folder: Path, facts: dict[str, Any]
) -> Callable[[str, Window], np.ndarray]:
  """The method, which keeps each clip that it has restored as pictures."""
  note = folder / "facts.json"
  if not note.is_file() or read_json(note, f"delete {folder}") != facts:
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    write_atomically(note, json.dumps(facts, indent=2))

  def restore(name: str, clip: Window) -> np.ndarray:
    done = folder / name
    if done.is_dir():
      return read_video(done)
    restored = method(name, clip)
    write_pictures(done, restored)
    return restored

  return restore


def _read(
  path: Path, facts: dict[str, Any], weights: dict[str, dict[str, str]]
) -> Measured | None:
  """What is measured already; None if it is to be measured (again)."""
  if not path.is_file():
    return None
  advice = "remove it, and it is measured again"
  content = read_json(path, advice)
  for name, value in facts.items():
    if content.get(name) != value:
      raise InputError(
        f"{path}: measured with another {name}; remove the file, or give "
        "another --out"
      )
  if content.get("weights") != weights:  # other metrics can be computed now
    return None
  try:
    return Measured(**content["measured"])
  except (KeyError, TypeError) as error:
    raise InputError(f"{path}: damaged ({error}); {advice}") from error
