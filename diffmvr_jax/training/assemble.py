"""Puts a training step together: the one place that knows its parts.

Model, loss, optimizer, state and shardings become a jitted update, which the
train loop, the compile check and the benchmarks trace and compile.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
from jax.sharding import Mesh
from jax.stages import Traced, Wrapped

from diffmvr_jax.checkpoints.training_state import TrainState
from diffmvr_jax.config import (
  AutoencoderStageConfig,
  Config,
  FusionStageConfig,
  OccluderStageConfig,
  OptimizerConfig,
  PainterStageConfig,
  trained_networks,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.runtime.mesh import FRAME, WINDOW_AXES
from diffmvr_jax.training.consistency import consistency_loss, with_teacher
from diffmvr_jax.training.frame_validation import (
  FrameValidation,
  fusion_validation,
  occluder_validation,
  painter_validation,
)
from diffmvr_jax.training.fusion_loss import fusion_loss
from diffmvr_jax.training.inputs import (
  Encode,
  Shapes,
  encode_images,
  read_encoded,
)
from diffmvr_jax.training.objectives import (
  Loss,
  autoencoder_loss,
  diffusion_loss,
)
from diffmvr_jax.training.occluder_loss import occluder_loss
from diffmvr_jax.training.optimizer import make_optimizer
from diffmvr_jax.training.painter_loss import painter_loss
from diffmvr_jax.training.sharding import (
  batch_sharding,
  placed,
  state_shardings,
)
from diffmvr_jax.training.step import init_state, make_update
from diffmvr_jax.training.validation import Validation

_FrameStageConfig = (
  AutoencoderStageConfig
  | FusionStageConfig
  | PainterStageConfig
  | OccluderStageConfig
)


def _unchanged(networks: Params) -> Params:
  return networks


# By `diffusion_stage.objective`: what makes the loss, and what adds to the
# networks those that only the loss needs.
_OBJECTIVES: dict[
  str,
  tuple[Callable[[DiffMVR, Config, Encode], Loss], Callable[[Params], Params]],
] = {
  "diffusion": (diffusion_loss, _unchanged),
  "consistency": (consistency_loss, with_teacher),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
  """One of the stages of a training run.

  Attributes:
    name: name of its checkpoints and logs.
    steps: number of updates.
    batch_size: windows in a batch.
    window: frames in a window.
    trained: names of the networks that it trains.
    loss: what it minimises.
    optimizer: settings of its optimizer.
    prepare: adds to the networks those that only the loss needs.
    validation: makes what looks at held-out windows; None: nothing does.
  """

  name: str
  steps: int
  batch_size: int
  window: int
  trained: tuple[str, ...]
  loss: Loss
  optimizer: OptimizerConfig
  prepare: Callable[[Params], Params] = _unchanged
  validation: Callable[..., FrameValidation | Validation] | None = None


def autoencoder_stage(config: Config) -> Stage:
  """The first stage."""
  settings = config.autoencoder_stage
  loss = autoencoder_loss(DiffMVR.of(config), settings.kl_weight)
  return _on_single_frames("autoencoder", settings, loss)


def fusion_stage(config: Config) -> Stage:
  """Trains what chooses among the frames that were seen."""
  settings = config.fusion_stage
  loss = fusion_loss(DiffMVR.of(config), settings.gradient_weight)
  return _on_single_frames("fusion", settings, loss, fusion_validation(config))


def painter_stage(config: Config) -> Stage:
  """Trains what paints what nobody has seen."""
  settings = config.painter_stage
  loss = painter_loss(DiffMVR.of(config), settings.gradient_weight)
  check = painter_validation(config)
  return _on_single_frames("painter", settings, loss, check)


def occluder_stage(config: Config) -> Stage:
  """Trains what tells what covers a face."""
  settings = config.occluder_stage
  loss = occluder_loss(DiffMVR.of(config), settings.blind)
  check = occluder_validation(config)
  return _on_single_frames("occluder", settings, loss, check)


def _on_single_frames(
  name: str,
  settings: _FrameStageConfig,
  loss: Loss,
  validation: Callable[..., FrameValidation] | None = None,
) -> Stage:
  """A stage on windows of one frame, named as the network that it trains."""
  return Stage(
    name=name,
    steps=settings.steps,
    batch_size=settings.batch_size,
    window=1,
    trained=(name,),
    loss=loss,
    optimizer=settings.optimizer,
    validation=validation,
  )


def diffusion_stage(config: Config, *, encoded: bool) -> Stage:
  """The last stage, with the objective that the config names.

  Args:
    config: configuration of the run.
    encoded: whether batches hold encoded frames, not images.
  """
  stage, model = config.diffusion_stage, DiffMVR.of(config)
  encode = read_encoded(model) if encoded else encode_images(model)
  make_loss, prepare = _OBJECTIVES[stage.objective]
  return Stage(
    name="diffusion",
    steps=stage.steps,
    batch_size=stage.batch_size,
    window=config.data.window,
    trained=trained_networks(config),
    loss=make_loss(model, config, encode),
    optimizer=stage.optimizer,
    prepare=prepare,
    validation=Validation,
  )


@dataclass(frozen=True, kw_only=True)
class Step:
  """The update of a stage on a mesh, and what it takes.

  Attributes:
    stage: what is trained.
    mesh: the devices.
    begin: makes the first state from the parameters of the networks.
    state: shapes and shardings of the state.
    batch: shapes and shardings of a batch.
    update: jitted function, see `make_update`.
  """

  stage: Stage
  mesh: Mesh
  begin: Callable[[Params], TrainState]
  state: TrainState
  batch: Shapes
  update: Wrapped

  @property
  def shardings(self) -> TrainState:
    """Shardings of the state."""
    return jax.tree.map(lambda leaf: leaf.sharding, self.state)

  def trace(self) -> Traced:
    """Traces the update, so that it can be lowered and compiled."""
    seed = jax.eval_shape(lambda: jax.random.key(0))
    return self.update.trace(self.state, self.batch, seed)


def assemble(stage: Stage, networks: Params, batch: Shapes, mesh: Mesh) -> Step:
  """Puts the step of a stage together; nothing is computed or compiled.

  Args:
    stage: what is trained.
    networks: shapes of the networks that it starts from.
    batch: shapes of a global batch.
    mesh: the devices.

  Raises:
    InputError: the batch cannot be split evenly.
  """
  refuse_uneven(stage, mesh)
  optimizer = make_optimizer(stage.optimizer, stage.steps)

  def begin(networks: Params) -> TrainState:
    return init_state(stage.prepare(networks), stage.trained, optimizer)

  shapes = jax.eval_shape(begin, networks)
  return Step(
    stage=stage,
    mesh=mesh,
    begin=begin,
    state=placed(shapes, state_shardings(shapes, mesh)),
    batch=placed(batch, batch_sharding(mesh)),
    update=make_update(stage.loss, optimizer, stage.optimizer, shapes, mesh),
  )


def refuse_uneven(stage: Stage, mesh: Mesh) -> None:
  """Refuses a batch that devices or parts cannot share evenly.

  Raises:
    InputError: naming the settings.
  """
  if stage.window % mesh.shape[FRAME]:
    raise InputError("data.window is not a multiple of mesh.frame")
  if stage.batch_size % math.prod(mesh.shape[axis] for axis in WINDOW_AXES):
    raise InputError(
      f"{stage.name}_stage.batch_size is not a multiple of mesh data × fsdp"
    )
  if stage.batch_size % stage.optimizer.accumulate:
    raise InputError(
      f"{stage.name}_stage.batch_size is not a multiple of its "
      "optimizer.accumulate"
    )
