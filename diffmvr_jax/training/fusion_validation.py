"""Validation of the fusion: is it better than what it was given?

`fusion_validation.jsonl` says, for held-out frames that are the same each time,
the PSNR in the mask of the fused and of the propagated image, by how much the
first is above the second, and in how many frames.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from diffmvr_jax.checkpoints.training_state import TrainState
from diffmvr_jax.config import Config
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.observation import observed
from diffmvr_jax.runtime.mesh import spread_over
from diffmvr_jax.training.fusion_loss import masked_psnr
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.progress import MetricLog
from diffmvr_jax.training.sharding import (
  batch_sharding,
  local_part,
  replicated,
  shard_batch,
)


class FusionValidation:
  """Compares the averaged parameters' images with the propagated ones.

  `missed` is False: a validation that was not finished is left out.

  Args:
    config: configuration of the run.
    windows: held-out windows of one frame, of which evenly spaced ones are
      used.
    mesh: the devices.
    shardings: shardings of the train state.
    workdir: directory that gets the log.
    start: number of updates applied before this run.
  """

  def __init__(
    self,
    config: Config,
    windows: WindowSource,
    mesh: Mesh,
    shardings: TrainState,
    workdir: Path,
    start: int,
  ):
    self._stage, self._windows, self._mesh = config.fusion_stage, windows, mesh
    self._log = MetricLog(workdir, "fusion_validation", start)
    self.missed = False
    total = self._stage.validate_batches * self._stage.batch_size
    self._chosen = np.linspace(0, len(windows) - 1, total).astype(int)
    everywhere = replicated(mesh)
    self._psnr = jax.jit(
      partial(spread_over(mesh, psnr_of_both), DiffMVR.of(config)),
      in_shardings=(shardings.inference_params(), batch_sharding(mesh)),
      out_shardings=everywhere,
    )

  def __enter__(self) -> "FusionValidation":
    return self

  def __exit__(self, *exception) -> None:
    self._log.__exit__(*exception)

  def due(self, step: int) -> bool:
    """Whether to validate after `step` updates."""
    every = self._stage.validate_every
    return step == self._stage.steps or (every > 0 and step % every == 0)

  def __call__(
    self, state: TrainState, step: int, stopped: Callable[[], bool]
  ) -> None:
    """Validates the state after `step` updates, unless `stopped()`."""
    params, rows = state.inference_params(), []
    for number in range(self._stage.validate_batches):
      if stopped() and step < self._stage.steps:
        return
      rows.append(np.asarray(self._psnr(params, self._batch(number))))
    fused, propagated = np.concatenate(rows, axis=1)
    gain = fused - propagated
    self._log.write(
      step,
      {
        "psnr": float(fused.mean()),
        "psnr of propagation": float(propagated.mean()),
        "gain": float(gain.mean()),
        "better": float((gain > 0).mean()),
      },
    )

  def _batch(self, number: int) -> Batch:
    size = self._stage.batch_size
    rows, _ = local_part(self._mesh, size, 1)
    chosen = self._chosen[number * size + np.asarray(rows)].tolist()
    batch = self._windows.read(chosen, [False] * len(chosen))
    batch.pop("window_id")
    return shard_batch(batch, self._mesh, size)


def psnr_of_both(
  model: DiffMVR, params: Params, batch: Batch
) -> Float[Array, "2 n"]:
  """PSNR in the mask, of the fused and of the propagated image."""
  truth = to_float(flatten_frames(batch["target"]))
  mask = flatten_frames(batch["mask"]).astype(jnp.float32)
  fused = model.fused(params, observed(batch))
  propagated = to_float(flatten_frames(batch["propagated"]))
  return jnp.stack(
    [masked_psnr(image, truth, mask) for image in (fused, propagated)]
  )
