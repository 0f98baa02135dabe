"""A training: its stages, one after another.

Each stage starts from the networks of the one before, and is resumed by itself:
autoencoder, fusion, painter, occluder, diffusion.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax

from diffmvr_jax.config import Config, has_denoiser, needed_arrays
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.training.assemble import (
  autoencoder_stage,
  diffusion_stage,
  fusion_stage,
  occluder_stage,
  painter_stage,
)
from diffmvr_jax.training.fit import Preempted, fit
from diffmvr_jax.training.initial import (
  fit_flow_prior,
  initial_params,
  measure_residual_scale,
  measure_scale,
)
from diffmvr_jax.training.inputs import open_training_windows, open_windows

__all__ = [
  "Preempted",
  "fit_autoencoder",
  "fit_fusion",
  "fit_occluder",
  "fit_painter",
  "train",
]

Initial = Callable[[], Params]  # the networks that a stage starts from


def train(config: Config, workdir: Path) -> None:
  """Runs the stages for which the config has steps.

  Everything is written below `workdir`. A training that is there is resumed.

  Raises:
    InputError: bad data, a workdir of another configuration, or nothing to
      train.
    FloatingPointError: a loss is not finite.
    Preempted: SIGTERM arrived; the state is saved.
  """
  if not has_denoiser(config):
    early = config.fusion_stage, config.painter_stage, config.occluder_stage
    if not any(stage.steps for stage in early):
      raise InputError(
        "fusion_stage.steps, painter_stage.steps, occluder_stage.steps, "
        "diffusion_stage.steps: all are 0"
      )
    _fit_early_stages(config, workdir, _initial_networks(config))
    return
  records = RecordSource(config.data.path, "train")
  windows, held_out = open_training_windows(config, records), None
  if config.validation.every:
    held_out = _held_out(config, needed_arrays(config))
  initial = _initial_networks(config)
  if config.autoencoder_stage.steps:
    initial = fit_autoencoder(config, workdir)
  initial = _fit_early_stages(config, workdir, initial)
  if isinstance(windows, WindowSource):  # an anchor's windows are images
    initial = _with_residual_scale(config, initial, windows)
  stage = diffusion_stage(config, encoded=config.data.encoded is not None)
  fit(stage, config, workdir, initial, windows, held_out)


def fit_autoencoder(config: Config, workdir: Path) -> Initial:
  """Runs or resumes the first stage.

  Returns:
    A function that gives all networks, with the trained autoencoder and its
    scale.

  Raises:
    As `train`.
  """
  records = RecordSource(config.data.path, "train")
  # Unrelated frames teach it more than adjacent ones.
  windows = open_windows(config, records, window=1, occluded_only=False)
  stage, initial = autoencoder_stage(config), _initial_networks(config)
  state = fit(stage, config, workdir, initial, windows)
  model = DiffMVR.of(config)
  return lambda: measure_scale(model, state.inference_params(), config, records)


def fit_fusion(config: Config, workdir: Path, initial: Initial) -> Initial:
  """Runs or resumes the second stage.

  Args:
    config: configuration of the run.
    workdir: directory of the run.
    initial: gives the networks that it starts from.

  Returns:
    A function that gives all networks, with the trained fusion.

  Raises:
    As `train`.
  """
  arrays, held_out = needed_arrays(config, "fusion"), None
  records = RecordSource(config.data.path, "train")
  windows = open_windows(config, records, window=1, arrays=arrays)
  if config.fusion_stage.validate_batches:
    held_out = _held_out(config, arrays, window=1)

  def with_flow_prior() -> Params:
    return fit_flow_prior(initial(), config, windows)

  state = fit(
    fusion_stage(config), config, workdir, with_flow_prior, windows, held_out
  )
  return state.inference_params


def fit_painter(config: Config, workdir: Path, initial: Initial) -> Initial:
  """Runs or resumes the stage of the network that paints what nobody has seen.

  Arguments and result are those of `fit_fusion`.

  Raises:
    As `train`.
  """
  records, held_out = RecordSource(config.data.path, "train"), None
  if config.painter_stage.validate_batches:
    held_out = _held_out(config, (), window=1)
  windows = open_windows(config, records, window=1)
  stage = painter_stage(config)
  state = fit(stage, config, workdir, initial, windows, held_out)
  return state.inference_params


def fit_occluder(config: Config, workdir: Path, initial: Initial) -> Initial:
  """Runs or resumes the stage of the network that tells what covers a face.

  It sees free frames too. Arguments and result are those of `fit_fusion`.

  Raises:
    As `train`.
  """

  def frames(split: str) -> WindowSource:
    records = RecordSource(config.data.path, split)
    return open_windows(config, records, window=1, occluded_only=False)

  validates = config.occluder_stage.validate_batches > 0
  held_out = frames("validation") if validates else None
  stage = occluder_stage(config)
  state = fit(stage, config, workdir, initial, frames("train"), held_out)
  return state.inference_params


def _fit_early_stages(
  config: Config, workdir: Path, initial: Initial
) -> Initial:
  """The stages before the diffusion that need no U-Net."""
  for stage, run in (
    (config.fusion_stage, fit_fusion),
    (config.painter_stage, fit_painter),
    (config.occluder_stage, fit_occluder),
  ):
    if stage.steps:
      initial = run(config, workdir, initial)
  return initial


def _held_out(
  config: Config, arrays: tuple[str, ...], window: int | None = None
) -> WindowSource:
  records = RecordSource(config.data.path, "validation")
  return open_windows(config, records, window=window, arrays=arrays)


def _with_residual_scale(
  config: Config, initial: Initial, windows: WindowSource
) -> Initial:
  model = DiffMVR.of(config)
  return lambda: measure_residual_scale(model, initial(), config, windows)


def _initial_networks(config: Config) -> Initial:
  model, seed = DiffMVR.of(config), jax.random.key(config.seed)
  return partial(initial_params, model, config, seed)
