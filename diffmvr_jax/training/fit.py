"""The train loop, the same for all stages.

A stage is set up, compiled and looped over, each by a function of its own.
"""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.stages import Compiled
from orbax.checkpoint import multihost

from diffmvr_jax.checkpoints.fingerprint import encoder_fingerprint
from diffmvr_jax.checkpoints.training_state import Checkpoints, TrainState
from diffmvr_jax.config import Config
from diffmvr_jax.data.batches import Windows, training_batches
from diffmvr_jax.data.in_memory import InMemory
from diffmvr_jax.data.latent_cache import EncodedWindows
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import make_folder
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.runtime.flops import traced_flops
from diffmvr_jax.training.assemble import Stage, Step, assemble
from diffmvr_jax.training.inputs import shapes_of
from diffmvr_jax.training.progress import LaterReport, MetricLog, Progress
from diffmvr_jax.training.sharding import (
  local_part,
  make_mesh,
  replicated,
  shard_batch,
)


class Preempted(Exception):
  """The process was told to stop, and has saved."""


def fit(
  stage: Stage,
  config: Config,
  workdir: Path,
  initial: Callable[[], Params],
  windows: Windows,
  held_out: WindowSource | None = None,
) -> TrainState:
  """Runs or resumes one stage and returns its final state.

  Args:
    stage: what is trained.
    config: configuration of the run.
    workdir: directory of the run.
    initial: gives the networks to start from; called only if there is no
      checkpoint to resume.
    windows: windows to train on.
    held_out: windows to validate on; None: there is no validation.
  """
  run = set_up(stage, config, workdir, initial, windows)
  if int(run.state.step) < stage.steps:
    program, flops = compile_update(run.assembled)
    run_updates(run, program, flops, config, workdir, held_out)
  elif run.checkpoints.latest is None:  # a stage of no updates
    run.checkpoints.save(run.state, run.data)
  run.checkpoints.close()
  reached = int(run.state.step)
  if reached < stage.steps:
    raise Preempted(f"saved step {reached} of the {stage.name} stage")
  return run.state


@dataclass
class Run:
  """A stage that is ready to be trained, or is being trained.

  Attributes:
    assembled: step of the stage.
    data: iterator over this process's batches.
    checkpoints: checkpoints of the stage.
    state: newest state.
  """

  assembled: Step
  data: grain.DatasetIterator
  checkpoints: Checkpoints
  state: TrainState


def set_up(
  stage: Stage,
  config: Config,
  workdir: Path,
  initial: Callable[[], Params],
  windows: Windows,
) -> Run:
  """Assembles the step, and resumes the newest checkpoint or starts afresh.

  Args:
    stage: what is trained.
    config: configuration of the run.
    workdir: directory of the run.
    initial: gives the networks to start from.
    windows: windows to train on.

  Raises:
    InputError: settings, checkpoints or windows do not fit each other.
  """
  mesh = make_mesh(config.mesh)
  assembled = assemble(
    stage,
    DiffMVR.of(config).shapes(config.data.image_size),
    shapes_of(windows, stage.batch_size),
    mesh,
  )
  rows, _ = local_part(mesh, stage.batch_size, stage.window)
  if config.data.in_memory and isinstance(windows, WindowSource):
    windows = InMemory(windows, config.data.threads)
  data = training_batches(
    windows,
    config.data,
    batch_size=stage.batch_size,
    seed=config.seed,
    rows=rows,
  )
  make_folder(workdir)
  checkpoints = Checkpoints(workdir / stage.name, config, config.checkpoint)
  state = checkpoints.restore(assembled.state, data)
  if state is None:
    begin = jax.jit(assembled.begin, out_shardings=assembled.shardings)
    state = begin(jax.tree.map(_replicable, initial()))
  if isinstance(windows, EncodedWindows):
    _refuse_other_encoders(windows, state)
  return Run(
    assembled=assembled, data=data, checkpoints=checkpoints, state=state
  )


def _replicable(value: Any) -> Any:
  """An input that may be fed to a program on all devices of all processes.

  What a checkpoint gives lies on one device, and would stay there.
  """
  if jax.device_count() > 1 and getattr(value, "is_fully_addressable", True):
    return np.asarray(value)
  return value


def _refuse_other_encoders(windows: EncodedWindows, state: TrainState) -> None:
  if windows.encoders != encoder_fingerprint(state.frozen):
    raise InputError(
      f"{windows.folder}: made by other encoders than those of this run; "
      "encode the records again"
    )


def compile_update(assembled: Step) -> tuple[Compiled, float]:
  """Compiles the update in every process, and counts its FLOPs per device."""
  traced = assembled.trace()
  program = traced.lower().compile()
  # Collectives wait half a minute for the others, a compilation takes longer.
  multihost.sync_global_processes(
    f"{assembled.stage.name} is compiled",
    processes=set(range(jax.process_count())),
  )
  flops = traced_flops(traced, jax.default_backend())
  return program, flops / assembled.mesh.size


def run_updates(
  run: Run,
  program: Compiled,
  flops: float,
  config: Config,
  workdir: Path,
  held_out: WindowSource | None,
) -> None:
  """Updates `run.state` until the stage ends or SIGTERM arrives, and saves it.

  Args:
    run: the stage, set up.
    program: compiled update.
    flops: FLOPs of an update on one device.
    config: configuration of the run.
    workdir: directory of the run.
    held_out: windows to validate on, or None.
  """
  stage, mesh = run.assembled.stage, run.assembled.mesh
  step, seed = int(run.state.step), _stage_seed(run.assembled, config)
  with ExitStack() as stack:
    validation = None
    if held_out is not None and stage.validation is not None:
      shardings = run.assembled.shardings
      validation = stack.enter_context(
        stage.validation(config, held_out, mesh, shardings, workdir, step)
      )
    log = stack.enter_context(MetricLog(workdir, stage.name, step))
    progress = stack.enter_context(
      Progress(
        stage.name,
        start=step,
        total=stage.steps,
        windows=stage.batch_size,
        flops=flops,
        log=log,
        every=config.log_every,
      )
    )
    reports = LaterReport(progress)
    sigterm = stack.enter_context(_SigTerm())
    if validation is not None and validation.missed:
      validation(run.state, step, sigterm.received)
      progress.skip_time(step)
    while step < stage.steps and not sigterm.arrived(step):
      with progress.waiting():
        batch = next(run.data)
      window_ids = batch.pop("window_id")
      run.state, metrics = program(
        run.state, shard_batch(batch, mesh, stage.batch_size), seed
      )
      step += 1
      reports.add(step, metrics, window_ids)
      if validation is not None and validation.due(step):
        reports.flush()
        validation(run.state, step, sigterm.received)
        progress.skip_time(step)
      if step % config.checkpoint.every == 0:
        reports.flush()  # never save a state that is not finite
        run.checkpoints.save(run.state, run.data)
    reports.flush()
    run.checkpoints.save(run.state, run.data)


def _stage_seed(assembled: Step, config: Config) -> jax.Array:
  """The key that every update's key is folded from.

  It is made on the devices: a process may not place a key on those of others.
  """
  number = len(assembled.stage.name)  # another for each stage
  make = jax.jit(
    lambda: jax.random.fold_in(jax.random.key(config.seed), number),
    out_shardings=replicated(assembled.mesh),
  )
  return make()


class _SigTerm:
  """Remembers SIGTERM instead of dying of it, while it is entered."""

  def __init__(self):
    self._received = False

  def __enter__(self) -> "_SigTerm":
    # With several processes JAX's own handler has to stay: it tells them all.
    if jax.process_count() == 1:
      self._previous = signal.signal(signal.SIGTERM, self._note)
    return self

  def __exit__(self, *exception) -> None:
    if jax.process_count() == 1:
      signal.signal(signal.SIGTERM, self._previous)

  def arrived(self, step: int) -> bool:
    """Whether to stop before the update after `step`, in every process."""
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._received

  def received(self) -> bool:
    """Whether this process may stop by itself; with several, never."""
    return self._received

  def _note(self, number: int, frame) -> None:
    self._received = True
