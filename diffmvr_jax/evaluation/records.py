"""Evaluates models and other methods on a data set, down to the report."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from diffmvr_jax.buckets import Place, uploaded
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.engines.workers import open_workers
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluation.clips import (
  MeasuredClip,
  Method,
  from_folder,
  from_function,
  measure_clip,
  protocol_of,
)
from diffmvr_jax.evaluation.report import write_page
from diffmvr_jax.evaluation.report_media import PLAYERS, SHOWN, ReportMedia
from diffmvr_jax.evaluation.summary import (
  METRICS,
  device,
  summarise,
  verdict,
)
from diffmvr_jax.evaluation.video_pairs import find_videos
from diffmvr_jax.files import making_folder, write_atomically
from diffmvr_jax.inference.baselines import BASELINES
from diffmvr_jax.inference.crop_filling import restore_clip
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.fine_filling import filler_of
from diffmvr_jax.metrics.accumulators import Measurements
from diffmvr_jax.metrics.pretrained import load_networks
from diffmvr_jax.runtime.processes import gather

MODEL = "DiffMVR"
ORIGINAL = (
  "where there is none, the covered frame itself, as in the paper: a method "
  "that does nothing is then perfect, and one that removes the occlusion is not"
)


@dataclass(frozen=True, kw_only=True)
class _Work:
  """What is measured, and how; see `evaluate_records`."""

  data: Place
  split: str
  models: Sequence[tuple[str, Place]]
  external: Sequence[tuple[str, Place]]
  seed: int
  weights: Path | None
  metrics: Collection[str]
  against_original: bool


@dataclass(frozen=True, kw_only=True)
class _About:
  """What holds for all clips.

  Attributes:
    names: names of the methods; the first one is what the report is about.
    descriptions: what models and external methods are, by name.
    device: the device and the version of JAX that the numbers are made with.
    digests: see `LoadedNetworks`.
    missing: see `LoadedNetworks`.
  """

  names: list[str]
  descriptions: dict[str, str]
  device: str
  digests: dict[str, dict[str, str]]
  missing: dict[str, str]


class ClipMeasurer:
  """Restores and measures clips, one after the other.

  Args:
    work: what is measured, and how.

  Attributes:
    about: what holds for all clips.

  Raises:
    InputError: there is no such model, or weights are damaged.
  """

  def __init__(self, work: _Work):
    self._loaded = load_networks(work.weights, work.metrics)
    self._records = RecordSource(work.data, work.split)
    self._methods = _open_methods(
      work.models, work.external, work.seed, size=len(self._records[0].image)
    )
    self._against_original = work.against_original
    self.about = _About(
      names=list(self._methods.by_name),
      descriptions=self._methods.descriptions,
      device=device(),
      digests=self._loaded.digests,
      missing=self._loaded.missing,
    )

  def __call__(
    self,
    item: tuple[tuple[str, range], bool],
    after_frame: Callable[[], object],
  ) -> MeasuredClip:
    """Measures a clip.

    Args:
      item: the clip, as `RecordSource.videos` yields it, and whether the report
        plays it.
      after_frame: is not called: the clips are short.

    Returns:
      What was measured, with as much of the clip as the report shows.

    Raises:
      InputError: the records have no target, or a method lacks the clip.
    """
    del after_frame
    video, played = item
    measured = measure_clip(
      video,
      self._methods.by_name,
      self._records,
      self._loaded.networks,
      arrays=dict.fromkeys(self._methods.arrays),
      against_original=self._against_original,
    )
    first = self.about.names[0]
    kept = measured.restored if played else {first: measured.restored[first]}
    return replace(
      measured,
      clip={name: measured.clip[name] for name in SHOWN},
      restored=kept,
    )


@dataclass(frozen=True, kw_only=True)
class _Methods:
  """What is compared.

  Attributes:
    by_name: the methods.
    descriptions: what models and external methods are, by name.
    arrays: names of the arrays of aligned guidance that models read.
  """

  by_name: dict[str, Method] = field(default_factory=dict)
  descriptions: dict[str, str] = field(default_factory=dict)
  arrays: list[str] = field(default_factory=list)


def evaluate_records(
  checkpoint: Place | None,
  data: Place,
  split: str,
  out: Place,
  seed: int,
  *,
  models: Sequence[tuple[str, Place]] = (),
  external: Sequence[tuple[str, Place]] = (),
  weights: Path | None = None,
  metrics: Collection[str] = METRICS,
  against_original: bool = False,
  engine: str | None = None,
) -> dict[str, Any]:
  """Restores and scores every clip of a split; writes the report's four files.

  Several processes share the clips, and process 0 writes.

  Args:
    checkpoint: workdir of the model; None measures the other methods alone,
      and the report is about the first of them, or about propagation.
    data: folder of records, on a disk or in a bucket.
    split: split of the data set.
    out: folder for the files, on a disk or in a bucket.
    seed: seed of the models' noise.
    models: names and workdirs of further models.
    external: names of other methods, and folders of what they made of the
      clips.
    weights: folder of the metrics' networks.
    metrics: names of `METRICS`; each is also measured inside the mask.
    against_original: see `evaluate_clips`.
    engine: Ray cluster that does it, see `open_workers`.

  Returns:
    The content of `metrics.json`.

  Raises:
    InputError: there is no checkpoint, no such split, no target in the
      records; an external method lacks a clip; or two methods have one name.
  """
  records = RecordSource(data, split)
  if checkpoint is not None:
    models = [(MODEL, checkpoint), *models]
  _refuse_like_names([*models, *external])
  part = slice(jax.process_index(), None, jax.process_count())
  items = [
    (video, number < PLAYERS)
    for number, video in enumerate(list(records.videos())[part])
  ]
  work = _Work(
    data=data,
    split=split,
    models=models,
    external=external,
    seed=seed,
    weights=weights,
    metrics=metrics,
    against_original=against_original,
  )
  for _, folder in external:  # refused now, not after the models' work
    find_videos(folder, [video for (video, _), _ in items])
  with uploaded(out) as folder:
    return _measured(work, items, folder, engine)


def _measured(
  work: _Work,
  items: Sequence[tuple[tuple[str, range], bool]],
  out: Path,
  engine: str | None,
) -> dict[str, Any]:
  """Measures clips, and writes the four files; see `evaluate_records`."""
  with (
    making_folder(out),
    open_workers(partial(ClipMeasurer, work), engine, computes=True) as workers,
  ):
    about: _About = workers.about
    first = about.names[0]
    measurements: dict[str, dict[str, Measurements]]
    measurements = {name: {} for name in about.names}
    with ReportMedia(first, out / "restored.mp4") as media:
      results = workers.work(items, lambda frames: None, in_order=True)
      for _, measured in progress_bar(
        results, total=len(items), desc="restore", unit="video"
      ):
        if isinstance(measured, InputError):
          raise measured
        for name, of_method in measured.measurements.items():
          measurements[name][measured.name] = of_method
        if jax.process_index() == 0:
          media.add_clip(measured.name, measured.clip, measured.restored)
  measurements = _of_all_processes(measurements)
  summary = summarise(
    measurements,
    conditions={
      **about.descriptions,
      **({"truth": ORIGINAL} if work.against_original else {}),
      "data": f"{work.data}, split {work.split}: "
      f"{len(measurements[first])} clips",
      "device": about.device,
      "seed": str(work.seed),
    },
    metrics=work.metrics,
    digests=about.digests,
    missing=about.missing,
  )
  if jax.process_index() == 0:
    summary["verdict"] = verdict(first, summary["methods"])
    write_atomically(out / "metrics.json", json.dumps(summary, indent=2))
    media.write_sheet(out / "sheet.png")
    write_page(
      out / "report.html",
      title=f"{work.data.name}, {work.split}: restored by {first}",
      model=first,
      summary=summary,
      players=media.players,
      sheet=out / "sheet.png",
    )
  return summary


def _open_methods(
  models: Sequence[tuple[str, Place]],
  external: Sequence[tuple[str, Place]],
  seed: int,
  *,
  size: int,
) -> _Methods:
  """Models, external methods, and the baselines that need no training.

  If the crops are as large as a model's `sampling.detail` makes them in video,
  they are restored as they are there.
  """
  methods = _Methods()
  for name, workdir in models:
    network = CropRestorer.from_checkpoint(workdir)
    sampling, fine = network.config.sampling, filler_of(network)
    filler = fine if fine.crop_size == size else network
    restore = partial(restore_clip, filler, seed=seed)
    methods.by_name[name] = from_function(restore)
    methods.arrays.extend(network.arrays)
    methods.descriptions[name] = (
      f"{network.checkpoint}; {network.config.model.dtype}, "
      f"{sampling.steps} steps of {sampling.sampler}, "
      f"crops of {filler.crop_size} px"
    )
  for name, folder in external:
    methods.by_name[name] = from_folder(folder)
    said = protocol_of(folder)
    methods.descriptions[name] = f"{folder}: {said}" if said else f"{folder}"
  # Alone, the methods without training are beside the best of them.
  own = sorted(BASELINES, key=lambda name: name != "propagation")
  for name in BASELINES if methods.by_name else own:
    methods.by_name[name] = from_function(BASELINES[name])
  return methods


def _refuse_like_names(given: Sequence[tuple[str, Place]]) -> None:
  taken = set(BASELINES)
  for name, folder in given:
    if name in taken:
      raise InputError(f"{folder}: another method is called {name!r} already")
    taken.add(name)


def _of_all_processes(
  measurements: dict[str, dict[str, Measurements]],
) -> dict[str, dict[str, Measurements]]:
  """Joins the videos of all processes, method by method."""
  parts = gather(measurements)
  return {
    method: {video: m for part in parts for video, m in part[method].items()}
    for method in measurements
  }
