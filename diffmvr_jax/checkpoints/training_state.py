"""The state of a training run, and its checkpoints, which Orbax writes.

A checkpoint holds the state, the position in the data and the config. *step*
means the number of updates that were applied. A run that resumes from a
checkpoint ends with the same parameters, bit for bit, as one that was never
interrupted.
"""

import dataclasses
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import struct
from jax.experimental import multihost_utils

from diffmvr_jax.checkpoints.digests import (
  DamagedError,
  verify,
  write_missing_digests,
)
from diffmvr_jax.config import (
  CheckpointConfig,
  Config,
  from_dict,
  has_denoiser,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import Params

TEACHER = "teacher"  # a distillation's frozen U-Net, among the parameters

# A resumed run may differ from its checkpoint in these, and in nothing else.
_MAY_DIFFER = (
  "name",
  "init_from",
  "log_every",
  "checkpoint",
  "mesh",
  "validation",
  "sampling",
  "data.path",
  "data.encoded",
  "data.threads",
  "autoencoder_stage.steps",
  "fusion_stage.steps",
  "fusion_stage.validate_every",
  "fusion_stage.validate_batches",
  "diffusion_stage.steps",
  "model.remat",
)


@struct.dataclass
class TrainState:
  """Everything that a resumed run needs, except the position in the data.

  Leaves are arrays, or shapes or shardings in place of arrays.

  Attributes:
    step: number of updates applied, int32.
    params: networks that this stage trains, by name.
    ema: their moving average.
    frozen: the other networks, by name.
    opt_state: state of the optimizer.
  """

  step: Any
  params: Params
  ema: Params
  frozen: Any  # Params; Orbax puts a leaf in the place of an empty dictionary
  opt_state: optax.OptState

  def inference_params(self) -> Params:
    """Averaged and frozen parameters together, without a teacher's."""
    kept = {k: v for k, v in self.frozen.items() if k != TEACHER}
    return {**kept, **self.ema}


class Checkpoints:
  """The checkpoints of one stage.

  If a checkpoint cannot be written because the disk is full, a warning is
  printed, the training goes on, and the previous checkpoint stays. One that
  cannot be read is moved to `damaged/` with a warning, and the previous one is
  used.

  Args:
    folder: directory of the checkpoints; made if it does not exist.
    config: configuration of the run, which is saved in each checkpoint.
    options: how many checkpoints are kept.

  Raises:
    InputError: the folder holds checkpoints of another configuration.
  """

  def __init__(self, folder: Path, config: Config, options: CheckpointConfig):
    self._folder = folder.absolute()
    self._config = dataclasses.asdict(config)
    self._options = ocp.CheckpointManagerOptions(
      max_to_keep=options.keep,
      async_options=ocp.AsyncOptions(
        post_finalization_callback=self._before_commit
      ),
    )
    self._manager = self._open()
    while (step := self.latest) is not None:
      try:
        _verify_for_all(self._folder / str(step))
        saved = _saved_config(self._manager, step)
      except Exception as error:  # whatever Orbax makes of a damaged file
        self._move_to_damaged(step, error)
        continue
      _refuse_other_config(folder, saved, self._config)
      break

  @property
  def latest(self) -> int | None:
    """The newest checkpoint's step."""
    return self._manager.latest_step()

  def save(self, state: TrainState, data: grain.DatasetIterator) -> None:
    """Starts to write a checkpoint; returns before it is on disk."""
    step = int(state.step)
    if step == self.latest:
      return
    try:
      self._manager.check_for_errors()  # of the one before
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          data=ocp.args.JsonSave(data.get_state()),
          config=ocp.args.JsonSave(self._config),
        ),
      )
    except Exception as error:
      self._warn_unwritten(error)

  def restore(
    self, state: TrainState, data: grain.DatasetIterator | None
  ) -> TrainState | None:
    """Loads the newest checkpoint that can be read; None if there is none.

    Args:
      state: shapes and shardings of the state to load.
      data: iterator that is moved to the saved position, or None.
    """
    items: dict[str, Any] = {"state": ocp.args.StandardRestore(state)}
    if data is not None:
      items["data"] = ocp.args.JsonRestore()
    while (step := self.latest) is not None:
      try:
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
      except Exception as error:
        self._move_to_damaged(step, error)
        continue
      if data is not None:
        data.set_state(restored["data"])
      return restored["state"]
    return None

  def close(self) -> None:
    """Waits until everything is on disk."""
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      self._warn_unwritten(error)
    self._manager.close()

  def _before_commit(self) -> None:
    if jax.process_index() == 0:
      write_missing_digests(self._folder)

  def _open(self) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(self._folder, options=self._options)

  def _move_to_damaged(self, step: int, error: Exception) -> None:
    place = self._folder.parent / "damaged" / f"{self._folder.name}-{step}"
    alone = jax.process_count() == 1
    if not alone and not isinstance(error, DamagedError):
      # The others may have been able to read it.
      raise InputError(
        f"{self._folder / str(step)}: cannot be read ({_first_line(error)}); "
        f"move it to {place} and run again"
      ) from error
    _warn(
      f"{self._folder / str(step)}: cannot be read ({_first_line(error)}); "
      f"moved to {place}, going back to the checkpoint before"
    )
    self._manager.close()
    if jax.process_index() == 0:
      place.parent.mkdir(exist_ok=True)
      shutil.rmtree(place, ignore_errors=True)
      (self._folder / str(step)).rename(place)
    if not alone:
      multihost_utils.sync_global_devices("a damaged checkpoint is moved")
    self._manager = self._open()

  def _warn_unwritten(self, error: Exception) -> None:
    _warn(
      f"{self._folder}: a checkpoint could not be written "
      f"({_first_line(error)}); the newest one is of step {self.latest}"
    )


def _warn(text: str) -> None:
  print(f"warning: {text}", file=sys.stderr, flush=True)


def _first_line(error: Exception) -> str:
  return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _verify_for_all(step: Path) -> None:
  """`verify` by the first process; all of them raise alike."""
  error: DamagedError | None = None
  if jax.process_index() == 0:
    try:
      verify(step)
    except DamagedError as found:
      error = found
  damaged = error is not None
  if jax.process_count() > 1:
    damaged = bool(multihost_utils.broadcast_one_to_all(np.asarray(damaged)))
  if damaged:
    raise error or DamagedError("the first process says what is damaged")


def _saved_config(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
  restored = manager.restore(
    step, args=ocp.args.Composite(config=ocp.args.JsonRestore())
  )
  return restored["config"]


def _refuse_other_config(
  folder: Path, saved: Mapping[str, Any], current: Mapping[str, Any]
) -> None:
  # Settings that did not exist then have their defaults.
  begun = from_dict(saved)
  if has_denoiser(begun) != has_denoiser(from_dict(current)):
    raise InputError(
      f"{folder}: begun {'with' if has_denoiser(begun) else 'without'} a U-Net "
      f"(diffusion_stage.steps={begun.diffusion_stage.steps}, "
      f"sampling.steps={begun.sampling.steps}); choose another --workdir, and "
      f"init_from={folder.parent}"
    )
  old, new = _flatten(dataclasses.asdict(begun)), _flatten(current)
  for key in sorted(old.keys() | new.keys()):
    may_differ = any(
      key == name or key.startswith(f"{name}.") for name in _MAY_DIFFER
    )
    if not may_differ and old.get(key) != new.get(key):
      raise InputError(
        f"{folder}: holds checkpoints of another config: {key} is "
        f"{old.get(key)!r} there and {new.get(key)!r} here; choose another "
        "--workdir"
      )


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
  """Nested settings by dotted key."""
  if not isinstance(values, Mapping):
    # JSON knows no tuples.
    value = list(values) if isinstance(values, tuple) else values
    return {prefix[:-1]: value}
  flat: dict[str, Any] = {}
  for key, value in values.items():
    flat |= _flatten(value, f"{prefix}{key}.")
  return flat
