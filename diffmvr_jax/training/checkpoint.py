"""Checkpoints: state, data position and config, written by Orbax.

*step* means updates applied. A run that resumes from a checkpoint ends with
the same parameters, bit for bit, as one that was never interrupted.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grain
import orbax.checkpoint as ocp

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
  "sampling",
  "data.path",
  "data.threads",
  "autoencoder_stage.steps",
  "diffusion_stage.steps",
)


class Checkpoints:
  """The checkpoints of one stage.

  Args:
    folder: where they are; made if it does not exist.
    config: of the run; stored with each checkpoint.
    options: how many are kept.

  Raises:
    InputError: the folder holds checkpoints of another configuration.
  """

  def __init__(self, folder: Path, config: Config, options: CheckpointConfig):
    self._config = dataclasses.asdict(config)
    self._manager = ocp.CheckpointManager(
      folder.absolute(),
      options=ocp.CheckpointManagerOptions(max_to_keep=options.keep),
    )
    if self.latest is not None:
      saved = _saved_config(self._manager, self.latest)
      _refuse_other_config(folder, saved, self._config)

  @property
  def latest(self) -> int | None:
    """The newest checkpoint's step."""
    return self._manager.latest_step()

  def save(self, state: TrainState, data: grain.DatasetIterator) -> None:
    """Starts to write a checkpoint; returns before it is on disk."""
    step = int(state.step)
    if step == self.latest:
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        data=ocp.args.JsonSave(data.get_state()),
        config=ocp.args.JsonSave(self._config),
      ),
    )

  def restore(
    self, state: TrainState, data: grain.DatasetIterator | None
  ) -> TrainState:
    """Loads the newest checkpoint.

    Args:
      state: shapes and shardings of what to load.
      data: is moved to where it was; None leaves it out.
    """
    step = self.latest
    items: dict[str, Any] = {"state": ocp.args.StandardRestore(state)}
    if data is not None:
      items["data"] = ocp.args.JsonRestore()
    restored = self._manager.restore(step, args=ocp.args.Composite(**items))
    if data is not None:
      data.set_state(restored["data"])
    return restored["state"]

  def close(self) -> None:
    """Waits until everything is on disk."""
    self._manager.wait_until_finished()
    self._manager.close()


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
