"""The train loop: one readable function, the same for both stages."""

import dataclasses
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from orbax.checkpoint import multihost

from diffmvr_jax.checkpoints.fingerprint import encoder_fingerprint
from diffmvr_jax.checkpoints.training_state import Checkpoints
from diffmvr_jax.config import Config, OptimizerConfig, trained_networks
from diffmvr_jax.data.latent_cache import EncodedWindows
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import Windows, WindowSource, training_batches
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.runtime.flops import traced_flops
from diffmvr_jax.training.consistency import consistency_loss, with_teacher
from diffmvr_jax.training.initial import initial_params, measure_scale
from diffmvr_jax.training.objectives import (
  Loss,
  Metrics,
  autoencoder_loss,
  diffusion_loss,
  encode_images,
  read_encoded,
)
from diffmvr_jax.training.optimizer import make_optimizer
from diffmvr_jax.training.progress import MetricLog, Progress
from diffmvr_jax.training.sharding import (
  batch_sharding,
  local_part,
  make_mesh,
  replicated,
  shard_batch,
  state_shardings,
)
from diffmvr_jax.training.step import TrainState, init_state, make_update
from diffmvr_jax.training.validation import Validation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
  """One of the two trainings that a run consists of.

  `initial` is called only where nothing is resumed. `encoders` is the
  fingerprint that the frozen encoders must have, where `windows` holds what
  they made. `taught` says that the initial U-Net stays, as a teacher.
  """

  name: str
  steps: int
  batch_size: int
  trained: tuple[str, ...]
  loss: Loss
  optimizer: OptimizerConfig
  initial: Callable[[], Params]
  windows: Windows
  window: int
  validation: WindowSource | None = None
  encoders: str | None = None
  taught: bool = False


class Preempted(Exception):
  """The process was told to stop, and has saved."""


def train(config: Config, workdir: Path) -> None:
  """Trains the autoencoder, where the config asks for it, then the rest.

  Everything is written below `workdir`; what is already there is resumed.

  Raises:
    InputError: bad data, or a workdir of another configuration.
    FloatingPointError: a loss is not finite.
    Preempted: SIGTERM arrived; the state is saved.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  model = DiffMVR(config=config.model)
  seed = jax.random.key(config.seed)
  records = RecordSource(config.data.path, "train")
  windows: Windows = _windows(config, records)
  encode, encoders = encode_images(model), None
  if config.data.encoded is not None:
    windows = EncodedWindows(windows, records, Path(config.data.encoded))
    encode, encoders = read_encoded(model), windows.encoders
  held_out = None
  if config.validation.every:
    held_out = _windows(config, RecordSource(config.data.path, "validation"))

  params: Callable[[], Params] = partial(initial_params, model, config, seed)
  if config.autoencoder_stage.steps:
    params = fit_autoencoder(config, workdir)
  taught = config.diffusion_stage.objective == "consistency"
  objective = consistency_loss if taught else diffusion_loss
  stage = Stage(
    name="diffusion",
    steps=config.diffusion_stage.steps,
    batch_size=config.diffusion_stage.batch_size,
    trained=trained_networks(config),
    loss=objective(model, config, encode),
    optimizer=config.diffusion_stage.optimizer,
    initial=params,
    windows=windows,
    window=config.data.window,
    validation=held_out,
    encoders=encoders,
    taught=taught,
  )
  fit(stage, config, workdir)


def fit_autoencoder(config: Config, workdir: Path) -> Callable[[], Params]:
  """Runs or resumes the first stage.

  Returns:
    What gives all networks, with the trained autoencoder and its scale.

  Raises:
    As `train`.
  """
  model = DiffMVR(config=config.model)
  records = RecordSource(config.data.path, "train")
  stage = Stage(
    name="autoencoder",
    steps=config.autoencoder_stage.steps,
    batch_size=config.autoencoder_stage.batch_size,
    trained=("autoencoder",),
    loss=autoencoder_loss(model, config.autoencoder_stage.kl_weight),
    optimizer=config.autoencoder_stage.optimizer,
    initial=partial(initial_params, model, config, jax.random.key(config.seed)),
    # Unrelated frames teach it more than adjacent ones.
    windows=_windows(config, records, window=1, occluded_only=False),
    window=1,
  )
  state = fit(stage, config, workdir)
  return lambda: measure_scale(model, state.inference_params(), config, records)


def _windows(
  config: Config,
  records: RecordSource,
  *,
  window: int | None = None,
  occluded_only: bool = True,
) -> WindowSource:
  """Windows of `data.window` frames, or of so many as are given."""
  return WindowSource(
    records,
    window=window or config.data.window,
    stride=config.data.stride,
    image_size=config.data.image_size,
    occluded_only=occluded_only,
  )


def fit(stage: Stage, config: Config, workdir: Path) -> TrainState:
  """Runs or resumes one stage and returns its final state."""
  mesh = make_mesh(config.mesh)
  if stage.window % mesh.shape["frame"]:
    raise InputError("data.window is not a multiple of mesh.frame")
  if stage.batch_size % (mesh.shape["data"] * mesh.shape["fsdp"]):
    raise InputError(
      f"{stage.name}_stage.batch_size is not a multiple of mesh data × fsdp"
    )
  if stage.batch_size % stage.optimizer.accumulate:
    raise InputError(
      f"{stage.name}_stage.batch_size is not a multiple of its "
      "optimizer.accumulate"
    )
  rows, _ = local_part(mesh, stage.batch_size, stage.window)
  data = training_batches(
    stage.windows,
    config.data,
    batch_size=stage.batch_size,
    seed=config.seed,
    rows=rows,
  )

  optimizer = make_optimizer(stage.optimizer, stage.steps)
  checkpoints = Checkpoints(workdir / stage.name, config, config.checkpoint)
  model = DiffMVR(config=config.model)

  def begin(params: Params) -> TrainState:
    if stage.taught:
      params = with_teacher(params)
    return init_state(params, stage.trained, optimizer)

  shapes = jax.eval_shape(begin, model.shapes(config.data.image_size))
  shardings = state_shardings(shapes, mesh)
  with_shardings = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )
  state = checkpoints.restore(with_shardings, data)
  if state is None:
    state = jax.jit(begin, out_shardings=shardings)(
      jax.tree.map(_replicable, stage.initial())
    )

  if stage.encoders not in (None, encoder_fingerprint(state.frozen)):
    raise InputError(
      f"{config.data.encoded}: made by other encoders than those of this run; "
      "encode the records again"
    )
  step = int(state.step)
  if step >= stage.steps:
    checkpoints.close()
    return state
  # Made on the devices: a process may not place a key on those of others.
  seed = jax.jit(
    lambda: jax.random.fold_in(jax.random.key(config.seed), len(stage.name)),
    out_shardings=replicated(mesh),
  )()
  update = make_update(stage.loss, optimizer, stage.optimizer, shapes, mesh)
  traced = update.trace(
    shapes, batch_shapes(stage.windows, stage.batch_size, mesh), seed
  )
  compiled = traced.lower().compile()
  # Collectives wait half a minute for the others, a compilation takes longer.
  multihost.sync_global_processes(
    f"{stage.name} is compiled", processes=set(range(jax.process_count()))
  )
  with ExitStack() as stack:
    validation = None
    if stage.validation is not None:
      validation = stack.enter_context(
        Validation(config, stage.validation, mesh, shardings, workdir, step)
      )
    log = stack.enter_context(MetricLog(workdir, stage.name, step))
    progress = stack.enter_context(
      Progress(
        stage.name,
        start=step,
        total=stage.steps,
        windows=stage.batch_size,
        flops=traced_flops(traced, jax.default_backend()) / mesh.size,
        log=log,
        every=config.log_every,
      )
    )
    sigterm = stack.enter_context(_SigTerm())
    if validation is not None and validation.missed:
      validation(state, step, sigterm.received)
      progress.skip_time(step)
    pending = None
    while step < stage.steps and not sigterm.arrived(step):
      with progress.waiting():
        batch = next(data)
      windows_of_batch = batch.pop("window_id")
      state, metrics = compiled(
        state, shard_batch(batch, mesh, stage.batch_size), seed
      )
      step += 1
      # Step n is on its way before the metrics of step n − 1 are waited for.
      if pending is not None:
        _report(progress, *pending)
      pending = (step, metrics, windows_of_batch)
      if validation is not None and validation.due(step):
        _report(progress, *pending)
        pending = None
        validation(state, step, sigterm.received)
        progress.skip_time(step)
      if step % config.checkpoint.every == 0:
        if pending is not None:
          _report(progress, *pending)  # never save a state that is not finite
          pending = None
        checkpoints.save(state, data)
    if pending is not None:
      _report(progress, *pending)
    checkpoints.save(state, data)
  checkpoints.close()
  if step < stage.steps:
    raise Preempted(f"saved step {step} of the {stage.name} stage")
  return state


def _replicable(value: Any) -> Any:
  """An input that every process may feed to a program of all of them."""
  if jax.process_count() > 1 and getattr(value, "is_fully_addressable", True):
    return np.asarray(value)
  return value


def batch_shapes(
  windows: Windows, batch_size: int, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and shardings of a training batch, without making one."""
  batch = windows.read([0], [False])
  batch.pop("window_id")
  return {
    name: jax.ShapeDtypeStruct(
      (batch_size, *value.shape[1:]), value.dtype, sharding=batch_sharding(mesh)
    )
    for name, value in batch.items()
  }


def _report(
  progress: Progress, step: int, metrics: Metrics, window_ids: np.ndarray
) -> None:
  values = {name: float(value) for name, value in metrics.items()}
  try:
    progress.report(step, values)
  except FloatingPointError as error:
    raise FloatingPointError(
      f"{error}; its windows are {window_ids.tolist()}"
    ) from error


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
