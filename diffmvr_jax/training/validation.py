"""Validation of the averaged parameters on held-out windows.

The same windows, noise and timesteps each time: two runs, or two steps of one
run, differ by their parameters alone.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Float

from diffmvr_jax.checkpoints.model import save_model
from diffmvr_jax.checkpoints.training_state import TrainState
from diffmvr_jax.config import Config
from diffmvr_jax.data.windows import Window, WindowSource
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.inference.sampling import restore_window
from diffmvr_jax.media.contact_sheet import contact_sheet
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.observation import observed
from diffmvr_jax.runtime.mesh import spread_over
from diffmvr_jax.training.inputs import Batch, encode_images
from diffmvr_jax.training.objectives import loss_terms, window_draws
from diffmvr_jax.training.progress import MetricLog
from diffmvr_jax.training.sharding import (
  batch_sharding,
  local_part,
  replicated,
  shard_batch,
)


class Validation:
  """Measures the losses, draws a sheet, and keeps the best parameters.

  `missed` says that the validation after `start` updates was not finished.

  Args:
    config: configuration of the run.
    windows: held-out windows, of which evenly spaced ones are used.
    mesh: the devices.
    shardings: shardings of the train state.
    workdir: directory that gets `validation.jsonl`, TensorBoard's events, and
      `best/`.
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
    self._config, self._windows, self._mesh = config, windows, mesh
    self._best = workdir / "best"
    self._log = MetricLog(workdir, "validation", start)
    done = self._log.read()
    least = min((line["loss"] for line in done), default=np.inf)
    missed = self.due(start) and all(line["step"] != start for line in done)
    if jax.process_count() > 1:  # the first process alone has the log
      least, missed = multihost_utils.broadcast_one_to_all(
        (np.float32(least), np.bool_(missed))
      )
    self._least, self.missed = float(least), bool(missed)
    self._batch_size = config.diffusion_stage.batch_size
    total = config.validation.batches * self._batch_size
    self._chosen = np.linspace(0, len(windows) - 1, total).astype(int)
    everywhere = replicated(mesh)
    inputs = (shardings.inference_params(), batch_sharding(mesh))
    self._losses = jax.jit(
      partial(spread_over(mesh, bucket_losses), config),
      in_shardings=(*inputs, everywhere),
      out_shardings=everywhere,
    )
    self._restore = jax.jit(
      partial(spread_over(mesh, restore_window), config.model, config.sampling),
      in_shardings=(inputs[0], everywhere, inputs[1], everywhere, everywhere),
      out_shardings=everywhere,
    )

  def due(self, step: int) -> bool:
    """Whether to validate after `step` updates."""
    if step == 0:
      return False
    return self._last(step) or step % self._config.validation.every == 0

  def _last(self, step: int) -> bool:
    return step == self._config.diffusion_stage.steps

  def __call__(
    self, state: TrainState, step: int, stopped: Callable[[], bool]
  ) -> None:
    """Validates the state after `step` updates.

    Returns between two batches as soon as `stopped()`; the run that resumes
    here validates first. The last validation is always finished, because no
    run would resume it.
    """
    params, losses = state.inference_params(), []
    key = jax.random.key(self._config.seed)
    for number in range(self._config.validation.batches):
      if stopped() and not self._last(step):
        return
      batch = self._placed(self._batch(number))
      batch_key = jax.random.fold_in(key, number)
      losses.append(np.asarray(self._losses(params, batch, batch_key)))
    denoising, motion = np.mean(losses, axis=0)
    values = {"loss": float(denoising.mean()), "motion": float(motion.mean())}
    for number, value in enumerate(denoising):
      values[f"loss/{bucket_name(self._config, number)}"] = float(value)
    if values["loss"] < self._least:
      self._least = values["loss"]
      self._replace_best(params, step)
    self._log.write(step, values)
    if self._config.validation.restored:
      self._log.write_image(step, "restored", self._sheet(params, key))

  def __enter__(self) -> "Validation":
    return self

  def __exit__(self, *exception) -> None:
    self._log.__exit__(*exception)

  def _batch(self, number: int) -> Window:
    """This process's windows of a batch."""
    rows, _ = local_part(self._mesh, self._batch_size, self._config.data.window)
    chosen = self._chosen[number * self._batch_size + np.asarray(rows)]
    batch = self._windows.read(chosen.tolist(), [False] * len(chosen))
    batch.pop("window_id")
    return batch

  def _placed(self, batch: Window) -> Batch:
    return shard_batch(batch, self._mesh, self._batch_size)

  def _sheet(self, params: Params, key: jax.Array) -> np.ndarray:
    """The middle frames of the first batch's windows: (h, w, 3) uint8."""
    batch = self._placed(self._batch(0))
    restored = self._restore(
      params,
      make_schedule(self._config.diffusion),
      observed(batch),
      key,
      jnp.zeros(batch["mask"].shape[:2], jnp.int32),
    )
    count = min(self._config.validation.restored, self._batch_size)
    middle = self._config.data.window // 2
    rows = {}
    shown = ("frame", "symmetric", "past", "propagated", "target")
    for name in (name for name in shown if name in batch):
      whole = multihost_utils.process_allgather(batch[name], tiled=True)
      rows[name] = list(np.asarray(whole)[:count, middle])
    rows["restored"] = list(np.asarray(restored)[:count, middle])
    return np.asarray(contact_sheet(rows))

  def _replace_best(self, params: Params, step: int) -> None:
    """Replaces `best/`; a kill leaves the old or the new one."""
    fresh, old = (self._best.with_name(n) for n in ("best.new", "best.old"))
    first = jax.process_index() == 0
    if first:
      for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    _wait_for_all("best checkpoint cleared")
    save_model(fresh, self._config, params, step)
    _wait_for_all("best checkpoint saved")
    if first:
      if self._best.exists():
        self._best.rename(old)
      fresh.rename(self._best)
      shutil.rmtree(old, ignore_errors=True)


def bucket_losses(
  config: Config, params: Params, batch: Batch, key: jax.Array
) -> Float[Array, "2 bucket"]:
  """L_diff and L_motion with each window in each range of timesteps.

  Args:
    config: configuration of the run.
    params: parameters of all networks.
    batch: images, named as in the data contract.
    key: the same key gives the same noise and timesteps.
  """
  model = DiffMVR.of(config)
  sample = encode_images(model)(params, batch)
  keys = jax.random.split(key, len(batch["mask"]))
  draws = window_draws(config, keys, sample)
  edges = bucket_edges(config)

  def bucket(bounds: jax.Array) -> jax.Array:
    low, high = bounds
    share = draws.timesteps / config.diffusion.steps
    timesteps = low + (share * (high - low)).astype(int)
    of_frames, of_motion = loss_terms(
      model, config, params, sample, draws.replace(timesteps=timesteps)
    )
    return jnp.stack([jnp.mean(of_frames), of_motion])

  return jax.lax.map(bucket, jnp.stack([edges[:-1], edges[1:]], 1)).T


def bucket_edges(config: Config) -> np.ndarray:
  """The ranges' bounds, one more than there are ranges."""
  buckets = config.validation.buckets
  return np.linspace(0, config.diffusion.steps, buckets + 1).astype(int)


def bucket_name(config: Config, number: int) -> str:
  """The first and last timestep of a range, as `000-099`."""
  low, high = bucket_edges(config)[number : number + 2]
  return f"{low:03d}-{high - 1:03d}"


def _wait_for_all(what: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
