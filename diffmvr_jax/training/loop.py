"""The train loop: one readable function, the same for both stages."""

import dataclasses
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from diffmvr_jax.config import Config, OptimizerConfig
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource, training_batches
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params, to_float
from diffmvr_jax.training.checkpoint import Checkpoints
from diffmvr_jax.training.objectives import (
  Loss,
  Metrics,
  autoencoder_loss,
  diffusion_loss,
  encode_images,
)
from diffmvr_jax.training.optimizer import make_optimizer
from diffmvr_jax.training.progress import MetricLog, Progress
from diffmvr_jax.training.sharding import (
  batch_sharding,
  local_part,
  make_mesh,
  shard_batch,
  state_shardings,
)
from diffmvr_jax.training.step import TrainState, init_state, make_update
from diffmvr_jax.training.stored import open_model
from diffmvr_jax.training.validation import Validation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
  """One of the two trainings that a run consists of."""

  name: str
  steps: int
  batch_size: int
  trained: tuple[str, ...]
  loss: Loss
  optimizer: OptimizerConfig
  initial: Callable[[], Params]  # called only where nothing is resumed
  window: int
  occluded_only: bool
  validation: RecordSource | None = None


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
  held_out = None
  if config.validation.every:
    held_out = RecordSource(config.data.path, "validation")

  def fresh() -> Params:
    return initial_params(model, config, seed)

  params: Callable[[], Params] = fresh
  if config.autoencoder_stage.steps:
    stage = Stage(
      name="autoencoder",
      steps=config.autoencoder_stage.steps,
      batch_size=config.autoencoder_stage.batch_size,
      trained=("autoencoder",),
      loss=autoencoder_loss(model, config.autoencoder_stage.kl_weight),
      optimizer=config.autoencoder_stage.optimizer,
      initial=fresh,
      window=1,  # unrelated frames teach it more than adjacent ones
      occluded_only=False,
    )
    state = fit(stage, config, records, workdir)

    def with_autoencoder() -> Params:
      return measure_scale(model, state.inference_params(), config, records)

    params = with_autoencoder
  stage = Stage(
    name="diffusion",
    steps=config.diffusion_stage.steps,
    batch_size=config.diffusion_stage.batch_size,
    trained=model.trained(),
    loss=diffusion_loss(model, config, encode_images(model)),
    optimizer=config.diffusion_stage.optimizer,
    initial=params,
    window=config.data.window,
    occluded_only=True,
    validation=held_out,
  )
  fit(stage, config, records, workdir)


def fit(
  stage: Stage, config: Config, records: RecordSource, workdir: Path
) -> TrainState:
  """Runs or resumes one stage and returns its final state."""
  mesh = make_mesh(config.mesh)
  windows = stage_windows(stage, config, records)
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
    windows,
    config.data,
    batch_size=stage.batch_size,
    seed=config.seed,
    rows=rows,
  )

  optimizer = make_optimizer(stage.optimizer, stage.steps)
  checkpoints = Checkpoints(workdir / stage.name, config, config.checkpoint)
  model = DiffMVR(config=config.model)
  shapes = jax.eval_shape(
    lambda key: init_state(
      model.init(key, config.data.image_size), stage.trained, optimizer
    ),
    jax.random.key(0),
  )
  shardings = state_shardings(shapes, mesh)
  with_shardings = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )
  state = checkpoints.restore(with_shardings, data)
  if state is None:
    state = jax.jit(
      lambda params: init_state(params, stage.trained, optimizer),
      out_shardings=shardings,
    )(jax.tree.map(_replicable, stage.initial()))

  step = int(state.step)
  if step >= stage.steps:
    checkpoints.close()
    return state
  seed = jax.random.fold_in(jax.random.key(config.seed), len(stage.name))
  update = make_update(
    stage.loss, optimizer, stage.optimizer, seed, shapes, mesh
  )
  compiled = update.lower(
    shapes, batch_shapes(windows, stage.batch_size, mesh)
  ).compile()
  with ExitStack() as stack:
    validation = None
    if stage.validation is not None:
      held_out = stage_windows(stage, config, stage.validation)
      validation = stack.enter_context(
        Validation(config, held_out, mesh, shardings, workdir, step)
      )
    log = stack.enter_context(MetricLog(workdir, stage.name, step))
    progress = stack.enter_context(
      Progress(
        stage.name,
        start=step,
        total=stage.steps,
        windows=stage.batch_size,
        flops=(compiled.cost_analysis() or {}).get("flops"),
        log=log,
        every=config.log_every,
      )
    )
    sigterm = stack.enter_context(_SigTerm())
    pending = None
    while step < stage.steps and not sigterm.arrived(step):
      batch = next(data)
      windows_of_batch = batch.pop("window_id")
      state, metrics = compiled(
        state, shard_batch(batch, mesh, stage.batch_size)
      )
      step += 1
      # Step n is on its way before the metrics of step n − 1 are waited for.
      if pending is not None:
        _report(progress, *pending)
      pending = (step, metrics, windows_of_batch)
      if validation is not None and validation.due(step):
        _report(progress, *pending)
        pending = None
        validation(state, step)
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


def stage_windows(
  stage: Stage, config: Config, records: RecordSource
) -> WindowSource:
  """The windows that a stage learns from, or is validated with."""
  return WindowSource(
    records,
    window=stage.window,
    stride=config.data.stride,
    image_size=config.data.image_size,
    occluded_only=stage.occluded_only,
  )


def _replicable(value: Any) -> Any:
  """An input that every process may feed to a program of all of them."""
  if jax.process_count() > 1 and getattr(value, "is_fully_addressable", True):
    return np.asarray(value)
  return value


def batch_shapes(
  windows: WindowSource, batch_size: int, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and shardings of a training batch, without making one."""
  window = windows[0]
  window.pop("window_id")
  return {
    name: jax.ShapeDtypeStruct(
      (batch_size, *value.shape), value.dtype, sharding=batch_sharding(mesh)
    )
    for name, value in window.items()
  }


def initial_params(model: DiffMVR, config: Config, seed: jax.Array) -> Params:
  """The networks of `config.init_from`, where it has them, others at random.

  Raises:
    InputError: `init_from` has no model, or one of other shapes.
  """
  given: Params = {}
  if config.init_from is not None:
    given = open_model(config.init_from).load()

  def init(key: jax.Array) -> Params:
    params = model.init(key, config.data.image_size)
    return {k: v for k, v in params.items() if k not in given}

  shapes = jax.eval_shape(
    lambda key: model.init(key, config.data.image_size), seed
  )
  given = {name: given[name] for name in given if name in shapes}
  for name, network in given.items():
    refuse_other_shapes(config.init_from, name, network, shapes[name])
  return jax.jit(init)(seed) | given


def refuse_other_shapes(
  source: str | None, name: str, network: Any, expected: Any
) -> None:
  """Refuses a network whose parameters are not those that are expected.

  Raises:
    InputError: naming the first parameter that differs.
  """
  ours, theirs = (
    {jax.tree_util.keystr(k): x.shape for k, x in jax.tree.leaves_with_path(t)}
    for t in (expected, network)
  )
  for key in sorted(ours.keys() | theirs.keys()):
    if ours.get(key) != theirs.get(key):
      raise InputError(
        f"{source}: its {name} does not fit the config: {name}{key} is "
        f"{theirs.get(key)} there and {ours.get(key)} here"
      )


def measure_scale(
  model: DiffMVR, params: Params, config: Config, records: RecordSource
) -> Params:
  """Sets `scaling_factor` so that latents have unit variance.

  Measured on 64 frames spread evenly over the training records; a factor that
  the configuration gives is left as it is.
  """
  if config.model.autoencoder.scaling_factor is not None:
    return params
  chosen = np.linspace(0, len(records) - 1, 64).astype(int)
  frames = [records[int(i)] for i in chosen]
  images = np.stack([r.image if r.target is None else r.target for r in frames])
  encode = jax.jit(lambda p, x: model.encode(p, to_float(x)))
  latents = encode(params | {"scaling_factor": jnp.float32(1)}, images)
  return params | {"scaling_factor": 1 / jnp.std(latents)}


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

  def _note(self, number: int, frame) -> None:
    self._received = True
