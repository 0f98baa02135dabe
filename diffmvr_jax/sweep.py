"""Trains and evaluates the variants of an experiment, and tabulates them.

  python -m diffmvr_jax.sweep --config configs/ablation_guidance.py \
    --workdir DIR [KEY=VALUE …]

Each run lies in WORKDIR/VARIANT/seedN and ends with `scores.json`; a second
call goes on where the first stopped, and finished runs are only read. The
tables go to `NAME.md` and `NAME.csv`, the plot to `NAME-SPLIT.png`, where NAME
is the config file's.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import jax

from diffmvr_jax.ablation.spec import Sweep, Variant, load_sweep
from diffmvr_jax.ablation.table import (
  Results,
  markdown,
  plot,
  table_csv,
  verdicts,
)
from diffmvr_jax.checkpoints.model import save_model
from diffmvr_jax.config import Config, to_json
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.evaluation.clips import evaluate_clips, of_arrays
from diffmvr_jax.files import write_atomically
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.metrics.accumulators import Scores, Tally
from diffmvr_jax.metrics.clip_metrics import Instruments
from diffmvr_jax.metrics.definitions import DEFINITIONS
from diffmvr_jax.metrics.pretrained import find_instruments
from diffmvr_jax.runtime.cpu_memory import keep_memory
from diffmvr_jax.training.loop import Preempted, fit_autoencoder, train

_SHARED = ("autoencoder", "scaling_factor")


def run(
  sweep: Sweep, workdir: Path, instruments: Instruments
) -> dict[str, Results]:
  """Trains what is not trained, evaluates what is not evaluated.

  Seeds follow one another, so that every variant has a first run early.

  Args:
    sweep: what to run.
    workdir: of all runs.
    instruments: metrics that need networks.

  Returns:
    Scores by split, variant and seed.

  Raises:
    InputError: bad data, or a workdir of another configuration.
    FloatingPointError: a loss is not finite.
    Preempted: SIGTERM arrived; the state is saved.
  """
  autoencoder = None
  if sweep.base.autoencoder_stage.steps:
    autoencoder = str(_autoencoder(sweep.base, workdir / "autoencoder"))
  results: dict[str, dict[str, dict[int, Scores]]] = {
    split: {variant.name: {} for variant in sweep.variants}
    for split in sweep.splits
  }
  for seed in sweep.seeds:
    for variant in sweep.variants:
      if variant.seeds is not None and seed not in variant.seeds:
        continue
      config = sweep.config_of(variant, seed, autoencoder)
      folder = workdir / variant.name / f"seed{seed}"
      for split in sweep.splits:
        scores = folder / f"scores-{split}.json"
        if not scores.exists():
          trained = _trained(variant, config, seed, folder)
          _evaluate(trained, config, split, seed, instruments, scores)
        results[split][variant.name][seed] = _read(scores, config)
  return dict(results)


def _autoencoder(config: Config, workdir: Path) -> Path:
  """The folder of the trained autoencoder, as of an import."""
  params = fit_autoencoder(config, workdir)
  if not (workdir / "model").is_dir():
    networks = params()
    save_model(workdir, config, {name: networks[name] for name in _SHARED})
  return workdir


def _trained(variant: Variant, config: Config, seed: int, folder: Path) -> Path:
  if variant.checkpoint is not None:
    return Path(variant.checkpoint.format(seed=seed))
  print(f"{folder}: training", flush=True)
  train(config, folder)
  return folder


def _evaluate(
  checkpoint: Path,
  config: Config,
  split: str,
  seed: int,
  instruments: Instruments,
  out: Path,
) -> None:
  """Writes the scores of a model on a split; a function of its arguments."""
  restorer = CropRestorer.from_checkpoint(checkpoint)
  records = RecordSource(config.data.path, split)
  clips = evaluate_clips(
    {"model": of_arrays(partial(restorer, seed=seed))}, records, instruments
  )["model"]
  content = {
    "config": json.loads(to_json(config)),
    "checkpoint": restorer.checkpoint,
    "average": sum(clips.values(), Tally()).values(),
    "videos": {name: tally.means() for name, tally in clips.items()},
  }
  out.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(out, json.dumps(content, indent=2))


def _read(path: Path, config: Config) -> Scores:
  content = json.loads(path.read_text())
  if content["config"] != json.loads(to_json(config)):
    raise InputError(
      f"{path}: measured with another configuration; give another --workdir, "
      "or remove the file's folder"
    )
  return content["average"]


def write_tables(
  sweep: Sweep, results: dict[str, Results], workdir: Path, name: str
) -> str:
  """Writes table, CSV and plots; returns the table's Markdown."""
  stage = sweep.base.diffusion_stage
  text = [
    f"## {sweep.title}",
    f"`{sweep.base.name}`, {stage.steps} updates of {stage.batch_size} windows "
    f"for every variant, {sweep.base.data.image_size} px, "
    f"{sweep.base.model.dtype}, {jax.devices()[0].device_kind}, jax "
    f"{jax.__version__}. Mean ± standard error over seeds.",
  ]
  for split, by_variant in results.items():
    text += [f"### {sweep.splits[split]}", markdown(sweep, split, by_variant)]
    text += ["\n".join(verdicts(sweep, by_variant))]
    plot(sweep, split, by_variant, workdir / f"{name}-{split}.png")
  whole = "\n\n".join(part for part in text if part) + "\n"
  write_atomically(workdir / f"{name}.md", whole)
  write_atomically(workdir / f"{name}.csv", table_csv(sweep, results))
  return whole


def main(argv: list[str]) -> None:
  """Parses the arguments and runs the sweep."""
  parser = argparse.ArgumentParser(
    prog="python -m diffmvr_jax.sweep",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--config", type=Path, required=True)
  parser.add_argument("--workdir", type=Path, required=True)
  parser.add_argument(
    "--weights", type=Path, help="folder of the metrics' networks"
  )
  parser.add_argument(
    "overrides",
    nargs="*",
    metavar="KEY=VALUE",
    help="dotted keys of the base experiment, or seeds=0,1",
  )
  arguments = parser.parse_args(argv)
  sweep = load_sweep(arguments.config, arguments.overrides)
  workdir: Path = arguments.workdir
  keep_memory()
  # A resumed sweep finds its programs here, and one seed those of another.
  jax.config.update(
    "jax_compilation_cache_dir", str((workdir / "programs").absolute())
  )
  try:
    found = find_instruments(arguments.weights, sweep.metrics)
    results = run(sweep, workdir, found.instruments)
  except Preempted as stop:
    print(f"stopped by SIGTERM: {stop}")
    return
  print(write_tables(sweep, results, workdir, arguments.config.stem))
  for name, how in found.missing.items():
    print(f"not computed: {DEFINITIONS[name].title}; {how}")


if __name__ == "__main__":
  run_command(main)
