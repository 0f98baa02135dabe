"""Measures trained models, or restored videos, against the truth.

  python -m diffmvr_jax.evaluate --checkpoint DIR --data DIR --out DIR
  python -m diffmvr_jax.evaluate --prediction P --target T [--mask M]

The first restores the held-out clips of a data set with the model, with
training-free baselines, with other models (`--model NAME=DIR`), and takes what
other methods made of them (`--external NAME=DIR`, a video or a folder of
pictures for each clip). It writes `metrics.json`, `sheet.png`, `restored.mp4`
and `report.html`. The second compares videos, folders of pictures, or folders
of either. Weights of FID, FVD, LPIPS and identity are looked for in
`--weights`, `DIFFMVR_MODELS` and `~/.cache/diffmvr`; a metric without them is
named, with where to get them.
"""

import argparse
import json
import pickle
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.evaluation.clips import (
  Method,
  evaluate_clips,
  from_folder,
  of_arrays,
)
from diffmvr_jax.evaluation.report import write_page
from diffmvr_jax.evaluation.showcase import Showcase
from diffmvr_jax.evaluation.summary import summarise, table, verdict
from diffmvr_jax.evaluation.video_pairs import find_pairs
from diffmvr_jax.files import write_atomically
from diffmvr_jax.inference.baselines import BASELINES
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.metrics.accumulators import Tally
from diffmvr_jax.metrics.clip_metrics import ClipMeter
from diffmvr_jax.metrics.definitions import DEFINITIONS
from diffmvr_jax.metrics.pretrained import find_instruments
from diffmvr_jax.runtime.processes import initialize

MODEL = "DiffMVR"
METRICS = tuple(n for n in DEFINITIONS if not n.endswith("_mask"))


def evaluate_records(
  checkpoint: Path | None,
  data: Path,
  split: str,
  out: Path,
  seed: int,
  *,
  models: Sequence[tuple[str, Path]] = (),
  external: Sequence[tuple[str, Path]] = (),
  weights: Path | None = None,
  wanted: Collection[str] = METRICS,
) -> dict[str, Any]:
  """Restores and scores every clip of a split; writes the four files.

  Several processes share the clips, and process 0 writes.

  Args:
    checkpoint: of the model; None: only the other methods are measured, and
      the first external one is shown.
    data: folder of records.
    split: of the data set.
    out: folder for the files.
    seed: of the restoration.
    models: further ones, by name.
    external: folders with what other methods made of the clips, by name.
    weights: folder of the metrics' networks.
    wanted: metrics, names of `DEFINITIONS`; each also inside the mask.

  Returns:
    What `metrics.json` holds.

  Raises:
    InputError: no checkpoint, no such split, records without targets, an
      external method that lacks a clip, two methods of one name, nothing to
      measure.
  """
  found = find_instruments(weights, wanted)
  records = RecordSource(data, split)
  if checkpoint is not None:
    models = [(MODEL, checkpoint), *models]
  _refuse_like_names([*models, *external])
  described = {}
  methods: dict[str, Method] = {}
  for name, folder in models:
    restorer = CropRestorer.from_checkpoint(folder)
    methods[name] = of_arrays(partial(restorer, seed=seed))
    sampling = restorer.config.sampling
    described[name] = (
      f"{restorer.checkpoint}; {restorer.config.model.dtype}, "
      f"{sampling.steps} steps of {sampling.sampler}"
    )
  for name, folder in external:
    methods[name] = from_folder(folder)
    described[name] = str(folder)
  if not methods:
    raise InputError("give --checkpoint, --model or --external")
  first = next(iter(methods))
  methods |= {name: of_arrays(fill) for name, fill in BASELINES.items()}
  out.mkdir(parents=True, exist_ok=True)
  part = slice(jax.process_index(), None, jax.process_count())
  with Showcase(first, out / "restored.mp4") as shown:
    tallies = evaluate_clips(
      methods,
      records,
      found.instruments,
      part=part,
      show=shown if jax.process_index() == 0 else None,
    )
  tallies = _gathered(tallies)
  summary = summarise(
    tallies,
    conditions={
      **described,
      "data": f"{data}, split {split}: {len(tallies[first])} clips",
      "device": f"{jax.devices()[0].device_kind}, jax {jax.__version__}",
      "seed": str(seed),
    },
    wanted=wanted,
    weights=found.weights,
    missing=found.missing,
  )
  if jax.process_index():
    return summary
  summary["verdict"] = verdict(first, summary["methods"])
  write_atomically(out / "metrics.json", json.dumps(summary, indent=2))
  shown.write_sheet(out / "sheet.png")
  write_page(
    out / "report.html",
    title=f"{data.name}, {split}: restored by {first}",
    model=first,
    summary=summary,
    players=shown.players,
    sheet=out / "sheet.png",
  )
  return summary


def evaluate_videos(
  prediction: Path,
  target: Path,
  mask: Path | None,
  *,
  weights: Path | None = None,
  wanted: Collection[str] = METRICS,
) -> dict[str, Any]:
  """Scores restored videos.

  Args:
    prediction: a video, a folder of pictures, or a folder of either.
    target: the truth, likewise.
    mask: likewise, white on the occlusion; None counts every pixel.
    weights: folder of the metrics' networks.
    wanted: metrics, names of `DEFINITIONS`; each also inside the mask.

  Returns:
    As `evaluate_records`; the one method is called "prediction".

  Raises:
    InputError: a file cannot be read, or sizes or lengths differ.
  """
  found = find_instruments(weights, wanted)
  tallies: dict[str, Tally] = {}
  for pair in find_pairs(prediction, target, mask):
    meter = ClipMeter(found.instruments)
    for stretch in pair:
      meter.see(*stretch)
    tallies[pair.name] = meter.tally
  return summarise(
    {"prediction": tallies},
    conditions={
      "prediction": str(prediction),
      "target": str(target),
      "mask": str(mask or "none: all pixels count"),
      "device": f"{jax.devices()[0].device_kind}, jax {jax.__version__}",
    },
    wanted=wanted,
    weights=found.weights,
    missing=found.missing,
  )


def _refuse_like_names(given: Sequence[tuple[str, Path]]) -> None:
  taken = set(BASELINES)
  for name, folder in given:
    if name in taken:
      raise InputError(f"{folder}: another method is called {name!r} already")
    taken.add(name)


def _gathered(
  tallies: dict[str, dict[str, Tally]],
) -> dict[str, dict[str, Tally]]:
  """The tallies of all processes, whole in float64, which JAX would not be."""
  if jax.process_count() == 1:
    return tallies
  mine = np.frombuffer(pickle.dumps(tallies), np.uint8)
  sizes = multihost_utils.process_allgather(np.asarray([len(mine)], np.int32))
  padded = np.zeros(int(sizes.max()), np.uint8)
  padded[: len(mine)] = mine
  everybody = np.asarray(multihost_utils.process_allgather(padded))
  parts = [
    pickle.loads(row[: int(size)].tobytes())  # from processes of this run
    for row, size in zip(everybody, sizes.reshape(-1), strict=True)
  ]
  return {
    method: {k: v for part in parts for k, v in part[method].items()}
    for method in tallies
  }


def _named(text: str) -> tuple[str, Path]:
  name, separator, folder = text.partition("=")
  if not (separator and name and folder):
    raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
  return name, Path(folder)


def _metrics(text: str) -> list[str]:
  names = text.split(",")
  for name in names:
    if name not in METRICS:
      raise argparse.ArgumentTypeError(
        f"no metric {name!r}; there are {', '.join(METRICS)}"
      )
  return names


def main(argv: list[str]) -> None:
  """Parses the arguments and evaluates."""
  parser = argparse.ArgumentParser(
    prog="python -m diffmvr_jax.evaluate",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--checkpoint", type=Path, help="workdir of the training")
  parser.add_argument("--data", type=Path, help="folder of records")
  parser.add_argument("--split", default="test")
  parser.add_argument("--out", type=Path, help="folder for what is written")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--model",
    type=_named,
    action="append",
    default=[],
    metavar="NAME=DIR",
    help="another model, such as a text-guided one",
  )
  parser.add_argument(
    "--external",
    type=_named,
    action="append",
    default=[],
    metavar="NAME=DIR",
    help="what another method made of the clips",
  )
  parser.add_argument("--prediction", type=Path, help="restored video(s)")
  parser.add_argument("--target", type=Path, help="true video(s)")
  parser.add_argument("--mask", type=Path, help="white on the occlusion")
  parser.add_argument(
    "--weights", type=Path, help="folder of the metrics' networks"
  )
  parser.add_argument(
    "--metrics",
    type=_metrics,
    default=METRICS,
    help="comma-separated; all of them if not given",
  )
  args = parser.parse_args(argv)
  options = {"weights": args.weights, "wanted": args.metrics}
  if args.data and args.out:
    initialize()
    summary = evaluate_records(
      args.checkpoint,
      args.data,
      args.split,
      args.out,
      args.seed,
      models=args.model,
      external=args.external,
      **options,
    )
  elif args.prediction and args.target:
    summary = evaluate_videos(
      args.prediction, args.target, args.mask, **options
    )
    if args.out:
      args.out.mkdir(parents=True, exist_ok=True)
      path = args.out / "metrics.json"
      write_atomically(path, json.dumps(summary, indent=2))
  else:
    raise InputError(
      "give either --data and --out, with --checkpoint, --model or --external, "
      "or --prediction and --target"
    )
  if jax.process_index() == 0:
    print(table(summary))
    print("\n".join(summary.get("verdict", ())))


if __name__ == "__main__":
  run_command(main)
