"""Runs a sweep: trains what is not trained, evaluates what is not evaluated."""

import json
from functools import partial
from pathlib import Path

import jax

from diffmvr_jax.ablation.spec import Sweep, Variant
from diffmvr_jax.ablation.table import Results, write_tables
from diffmvr_jax.checkpoints.model import save_model
from diffmvr_jax.config import Config, to_json
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluation.clips import evaluate_clips, from_function
from diffmvr_jax.files import (
  make_folder,
  making_folder,
  read_json,
  write_atomically,
)
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.metrics.accumulators import Measurements, Scores
from diffmvr_jax.metrics.clip_metrics import MetricNetworks
from diffmvr_jax.metrics.definitions import DEFINITIONS
from diffmvr_jax.metrics.pretrained import load_networks
from diffmvr_jax.runtime.processes import gather
from diffmvr_jax.training.loop import fit_autoencoder, fit_fusion, train

_SHARED = ("autoencoder", "scaling_factor", "fusion", "flow_prior")


def run_sweep(
  sweep: Sweep, workdir: Path, name: str, weights: Path | None = None
) -> str:
  """Runs a sweep, or goes on with it, and writes its tables and plots.

  Args:
    sweep: what to run.
    workdir: folder of all runs, and of the tables.
    name: beginning of the tables' file names.
    weights: folder of the metrics' networks.

  Returns:
    The tables as Markdown, and what was not computed; empty in all processes
    but the first, which writes.

  Raises:
    InputError: bad data, or a workdir of another configuration.
    FloatingPointError: a loss is not finite.
    Preempted: SIGTERM arrived; the state is saved.
  """
  loaded = load_networks(weights, sweep.metrics)
  with making_folder(workdir):
    # A resumed sweep finds its programs here, and one seed those of another.
    jax.config.update(
      "jax_compilation_cache_dir", str((workdir / "programs").absolute())
    )
    results = run_variants(sweep, workdir, loaded.networks)
  if jax.process_index():
    return ""
  lines = [write_tables(sweep, results, workdir, name)]
  for metric, remedy in loaded.missing.items():
    lines.append(f"not computed: {DEFINITIONS[metric].title}; {remedy}")
  return "\n".join(lines)


def run_variants(
  sweep: Sweep, workdir: Path, networks: MetricNetworks
) -> dict[str, Results]:
  """Trains and evaluates every variant with its seeds.

  Seeds follow one another, so that every variant has a first run early.
  Several processes train together, share the clips, and process 0 writes; all
  of them see `workdir`.

  Args:
    sweep: what to run.
    workdir: folder of all runs.
    networks: networks of metrics.

  Returns:
    Scores by split, variant and seed.

  Raises:
    InputError: bad data, or a workdir of another configuration.
    FloatingPointError: a loss is not finite.
    Preempted: SIGTERM arrived; the state is saved.
  """
  autoencoder = None
  if sweep.base.autoencoder_stage.steps:
    folder = _shared_networks(sweep.base, workdir / "autoencoder")
    autoencoder = str(folder)
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
        path = folder / f"scores-{split}.json"
        if not _agreed(path.exists()):
          restorer = _trained_model(variant, config, seed, folder)
          _write_scores(path, restorer, config, split, seed, networks)
        results[split][variant.name][seed] = _read_scores(path, config)
  return dict(results)


def _shared_networks(config: Config, workdir: Path) -> Path:
  """The folder of the networks that variants share, as an import writes it."""
  params = fit_autoencoder(config, workdir)
  if config.fusion_stage.steps:
    params = fit_fusion(config, workdir, params)
  if not _agreed((workdir / "model").is_dir()):
    networks = params()
    shared = {name: networks[name] for name in _SHARED if name in networks}
    save_model(workdir, config, shared)
  return workdir


def _trained_model(
  variant: Variant, config: Config, seed: int, folder: Path
) -> CropRestorer:
  if variant.checkpoint is not None:
    return CropRestorer.from_checkpoint(
      variant.checkpoint.format(seed=seed), variant.overrides
    )
  if jax.process_index() == 0:
    print(f"{folder}: training", flush=True)
  train(config, folder)
  return CropRestorer.from_checkpoint(folder)


def _write_scores(
  path: Path,
  restorer: CropRestorer,
  config: Config,
  split: str,
  seed: int,
  networks: MetricNetworks,
) -> None:
  """Writes a model's scores on a split, which depend on nothing else."""
  parts = gather(
    evaluate_clips(
      {"model": from_function(partial(restorer, seed=seed))},
      RecordSource(config.data.path, split),
      networks,
      arrays=restorer.arrays,
      part=slice(jax.process_index(), None, jax.process_count()),
    )["model"]
  )
  by_video = {video: m for part in parts for video, m in sorted(part.items())}
  content = {
    "config": json.loads(to_json(config)),
    "checkpoint": restorer.checkpoint,
    "average": sum(by_video.values(), Measurements()).values(),
    "videos": {video: m.means() for video, m in by_video.items()},
  }
  if jax.process_index() == 0:
    make_folder(path.parent)
    write_atomically(path, json.dumps(content, indent=2))
  gather(None)  # the others wait until it is there


def _agreed(found: bool) -> bool:
  """What process 0 found; the others may look earlier or later."""
  return gather(found)[0]


def _read_scores(path: Path, config: Config) -> Scores:
  advice = "remove it, and it is measured again"
  content = read_json(path, advice)
  if content.get("config") != json.loads(to_json(config)):
    raise InputError(
      f"{path}: measured with another configuration; give another --workdir, "
      "or remove the file's folder"
    )
  average = content.get("average")
  if not isinstance(average, dict) or not all(
    isinstance(value, int | float) for value in average.values()
  ):
    raise InputError(f"{path}: damaged (no scores); {advice}")
  return average
