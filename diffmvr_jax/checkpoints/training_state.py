"""Checkpoints: state, data position and config, written by Orbax.

*step* means updates applied. A run that resumes from a checkpoint ends with
the same parameters, bit for bit, as one that was never interrupted.
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
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from diffmvr_jax.checkpoints.digests import (
  DamagedError,
  verify,
  write_missing_digests,
)
from diffmvr_jax.config import CheckpointConfig, Config
from diffmvr_jax.errors import InputError
from diffmvr_jax.training.step import TrainState

# A resumed run may differ from its checkpoint in these, and in nothing else.
_FREE = (
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
  "diffusion_stage.steps",
  "model.remat",
)


class Checkpoints:
  """The checkpoints of one stage.

  A checkpoint that cannot be written, because the disk is full, costs a
  warning: the training goes on, and the one before stays. One that cannot be
  read is moved to `damaged/`, with a warning, and the one before is taken.

  Args:
    folder: where they are; made if it does not exist.
    config: of the run; stored with each checkpoint.
    options: how many are kept.

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
        self._put_aside(step, error)
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
    """Loads the newest checkpoint that can be read; None: there is none.

    Args:
      state: shapes and shardings of what to load.
      data: is moved to where it was; None leaves it out.
    """
    items: dict[str, Any] = {"state": ocp.args.StandardRestore(state)}
    if data is not None:
      items["data"] = ocp.args.JsonRestore()
    while (step := self.latest) is not None:
      try:
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
      except Exception as error:
        self._put_aside(step, error)
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

  def _put_aside(self, step: int, error: Exception) -> None:
    aside = self._folder.parent / "damaged" / f"{self._folder.name}-{step}"
    alone = jax.process_count() == 1
    if not alone and not isinstance(error, DamagedError):
      # The others may have been able to read it.
      raise InputError(
        f"{self._folder / str(step)}: cannot be read ({_first_line(error)}); "
        f"move it to {aside} and run again"
      ) from error
    _warn(
      f"{self._folder / str(step)}: cannot be read ({_first_line(error)}); "
      f"moved to {aside}, going back to the checkpoint before"
    )
    self._manager.close()
    if jax.process_index() == 0:
      aside.parent.mkdir(exist_ok=True)
      shutil.rmtree(aside, ignore_errors=True)
      (self._folder / str(step)).rename(aside)
    if not alone:
      multihost_utils.sync_global_devices("a damaged checkpoint is put aside")
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
  old, new = _flatten(saved), _flatten(current)
  for key in sorted(old.keys() | new.keys()):
    free = any(key == name or key.startswith(f"{name}.") for name in _FREE)
    if not free and old.get(key) != new.get(key):
      raise InputError(
        f"{folder}: holds checkpoints of another config: {key} is "
        f"{old.get(key)!r} there and {new.get(key)!r} here; choose another "
        "--workdir"
      )


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
  if not isinstance(values, Mapping):
    # JSON knows no tuples.
    value = list(values) if isinstance(values, tuple) else values
    return {prefix[:-1]: value}
  flat: dict[str, Any] = {}
  for key, value in values.items():
    flat |= _flatten(value, f"{prefix}{key}.")
  return flat
