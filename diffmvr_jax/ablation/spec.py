"""Ablations as data: variants of one experiment, and what they are to show.

A sweep's config file is a Python file with `get_sweep() -> Sweep`.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffmvr_jax.command_line.arguments import whole
from diffmvr_jax.command_line.bounds import FileName
from diffmvr_jax.config import Config, call, completed, override
from diffmvr_jax.config.overrides import build
from diffmvr_jax.errors import InputError
from diffmvr_jax.metrics.definitions import DEFINITIONS


@dataclass(frozen=True, kw_only=True)
class Variant:
  """A row of the table.

  Attributes:
    name: name of the row, and of its folder.
    overrides: changes to the base experiment, `key.path=value`.
    checkpoint: workdir of a finished training that is loaded instead of
      training, where "{seed}" stands for the seed; None trains. Overrides can
      then only be of `sampling`; the rest belongs to the training.
    seeds: those of the sweep's seeds that are run; None runs all.
    paper: the paper's row, by metric; it is shown beside ours.
  """

  name: str
  overrides: tuple[str, ...] = ()
  checkpoint: str | None = None
  seeds: tuple[int, ...] | None = None
  paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Claim:
  """What two variants are to show, decided seed by seed.

  Attributes:
    text: the claim in words.
    metric: name of the metric that decides.
    first: name of the variant that is to be better, or not worse, or equal.
    second: name of the variant that it is compared with.
    relation: what `first` is to be; "equal" means to the last bit.
  """

  text: str
  metric: str
  first: str
  second: str
  relation: Literal["better", "not worse", "equal"] = "better"


@dataclass(frozen=True, kw_only=True)
class Sweep:
  """Variants of an experiment, each trained with every seed.

  The autoencoder of the base experiment is trained once, for all.

  Attributes:
    title: title of the table.
    base: the experiment that the variants change.
    variants: rows of the table.
    seeds: seeds that each variant is trained with.
    splits: names of the splits to evaluate on, and what each of them is.
    metrics: columns, names of `DEFINITIONS`; metrics whose networks are
      missing stay out.
    claims: claims that are tested.
  """

  title: str
  base: Config
  variants: tuple[Variant, ...]
  seeds: tuple[int, ...] = (0, 1, 2)
  splits: Mapping[str, str] = field(
    default_factory=lambda: {"test": "held-out people"}
  )
  metrics: tuple[str, ...] = (
    "psnr_mask",
    "ssim_mask",
    "tc_mask",
    "ssim",
    "tc",
    "lpips",
    "ssim_paper",
    "tc_paper",
    "fid",
    "fid_paper",
    "fvd",
  )
  claims: tuple[Claim, ...] = ()

  def config_of(
    self, variant: Variant, seed: int, autoencoder: str | None
  ) -> Config:
    """The experiment of one run.

    Args:
      variant: the row.
      seed: seed of weights, data order and noise.
      autoencoder: folder of an autoencoder that is trained already; None
        trains one.

    Raises:
      InputError: a wrong override.
    """
    config = dataclasses.replace(
      self.base, name=f"{self.base.name}-{variant.name}", seed=seed
    )
    if autoencoder is not None:
      config = dataclasses.replace(
        config,
        init_from=autoencoder,
        autoencoder_stage=dataclasses.replace(
          config.autoencoder_stage, steps=0
        ),
        fusion_stage=dataclasses.replace(config.fusion_stage, steps=0),
      )
    return completed(config, variant.overrides)


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
  """Runs the file's `get_sweep()`.

  Args:
    path: the config file.
    overrides: changes to the base experiment, `key.path=value`; `seeds=(0,)`
      changes the sweep.

  Raises:
    InputError: there is no such file, no `get_sweep` in it, a value of a wrong
      type, a wrong override, two variants of one name, or a claim about a
      variant that is not there.
  """
  # Python does not refuse values of a wrong type; this does.
  sweep = build(Sweep, dataclasses.asdict(call(path, "get_sweep", Sweep)))
  for assignment in overrides:
    if assignment.startswith("seeds="):
      sweep = dataclasses.replace(sweep, seeds=_seeds(assignment))
    else:
      base = override(sweep.base, assignment)
      sweep = dataclasses.replace(sweep, base=base)
  _check(sweep, path)
  return sweep


def _seeds(assignment: str) -> tuple[int, ...]:
  text = assignment.partition("=")[2].strip("()[] ,")
  try:
    return tuple(whole(high=2**63 - 1)(part) for part in text.split(","))
  except argparse.ArgumentTypeError as error:
    raise InputError(f"{assignment}: give numbers, as in seeds=0,1") from error


def _check(sweep: Sweep, path: str | Path) -> None:
  names = [variant.name for variant in sweep.variants]
  for name in names:  # they name folders
    wrong = FileName().wrong(name)
    if wrong is not None:
      raise InputError(f"{path}: the variant {wrong}")
  for part in ("variants", "seeds", "splits", "metrics"):
    if not getattr(sweep, part):
      raise InputError(f"{path}: {part} is empty")
  if len(set(names)) < len(names):
    raise InputError(f"{path}: two variants have one name")
  for claim in sweep.claims:
    for name in (claim.first, claim.second):
      if name not in names:
        raise InputError(f"{path}: a claim about {name}, which is no variant")
  metrics = [*sweep.metrics, *(claim.metric for claim in sweep.claims)]
  for name in metrics:
    if name not in DEFINITIONS:
      raise InputError(
        f"{path}: no metric {name}; there are {', '.join(DEFINITIONS)}"
      )
  for split in sweep.splits:  # scores are kept under it
    wrong = FileName().wrong(split)
    if wrong is not None:
      raise InputError(f"{path}: the split {wrong}")
  if len(set(sweep.seeds)) < len(sweep.seeds):
    raise InputError(f"{path}: a seed is given twice")
  for variant in sweep.variants:  # refused now, not hours later
    _check_checkpoint(variant, path)
    for assignment in variant.overrides if variant.checkpoint else ():
      if not assignment.startswith("sampling."):
        raise InputError(
          f"{path}: {variant.name}: {assignment} cannot change a finished "
          "training; of its settings only sampling.KEY=VALUE can"
        )
    for seed in sweep.seeds:
      sweep.config_of(variant, seed, None)


def _check_checkpoint(variant: Variant, path: str | Path) -> None:
  try:
    (variant.checkpoint or "").format(seed=0)
  except (KeyError, ValueError, IndexError, AttributeError) as error:
    raise InputError(
      f"{path}: {variant.name}: checkpoint {variant.checkpoint!r}: of names in "
      "braces there is only {seed}"
    ) from error
