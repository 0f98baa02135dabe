"""Validation on held-out frames, the same each time.

`fusion_validation.jsonl` says the PSNR in the mask of the fused and of the
propagated image, by how much the first is above the second, and in how many
frames; `painter_validation.jsonl` the same of what is painted, where nothing
was seen before, and of colours that are carried from the visible part.
`occluder_validation.jsonl` says how well masks fit.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from diffmvr_jax.checkpoints.training_state import TrainState
from diffmvr_jax.config import (
  Config,
  FusionStageConfig,
  OccluderStageConfig,
  PainterStageConfig,
)
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.observation import observed
from diffmvr_jax.models.warping import carried
from diffmvr_jax.runtime.mesh import spread_over
from diffmvr_jax.training.fusion_loss import masked_psnr
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.occluder_loss import mask_logits, mask_scores
from diffmvr_jax.training.progress import MetricLog
from diffmvr_jax.training.sharding import (
  batch_sharding,
  local_part,
  replicated,
  shard_batch,
)
from diffmvr_jax.training.varied_faces import faces

# Takes networks, parameters and a batch; returns rows of one value per frame.
Measure = Callable[[DiffMVR, Params, Batch], Float[Array, "row n"]]
Summarise = Callable[[np.ndarray], Mapping[str, float]]


class FrameValidation:
  """Measures the averaged parameters on held-out frames, and logs it.

  `missed` is False: a validation that was not finished is left out.

  Args:
    config: configuration of the run.
    windows: held-out windows of one frame, of which evenly spaced ones are
      used.
    mesh: the devices.
    shardings: shardings of the train state.
    workdir: directory that gets the log.
    start: number of updates applied before this run.
    stage: how often, and on how many frames.
    name: name of the log.
    measure: what is measured of each frame.
    summarise: takes these rows of all frames, and gives what is logged.
  """

  def __init__(
    self,
    config: Config,
    windows: WindowSource,
    mesh: Mesh,
    shardings: TrainState,
    workdir: Path,
    start: int,
    *,
    stage: FusionStageConfig | PainterStageConfig | OccluderStageConfig,
    name: str,
    measure: Measure,
    summarise: Summarise,
  ):
    self._stage, self._windows, self._mesh = stage, windows, mesh
    self._summarise = summarise
    self._log = MetricLog(workdir, name, start)
    self.missed = False
    total = stage.validate_batches * stage.batch_size
    self._chosen = np.linspace(0, len(windows) - 1, total).astype(int)
    self._measure = jax.jit(
      partial(spread_over(mesh, measure), DiffMVR.of(config)),
      in_shardings=(shardings.inference_params(), batch_sharding(mesh)),
      out_shardings=replicated(mesh),
    )

  def __enter__(self) -> "FrameValidation":
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
      rows.append(np.asarray(self._measure(params, self._batch(number))))
    self._log.write(step, dict(self._summarise(np.concatenate(rows, axis=1))))

  def _batch(self, number: int) -> Batch:
    size = self._stage.batch_size
    rows, _ = local_part(self._mesh, size, 1)
    chosen = self._chosen[number * size + np.asarray(rows)].tolist()
    batch = self._windows.read(chosen, [False] * len(chosen))
    batch.pop("window_id")
    return shard_batch(batch, self._mesh, size)


def fusion_validation(config: Config) -> Callable[..., FrameValidation]:
  """Is the fused image better than the propagated one?"""
  return partial(
    FrameValidation,
    stage=config.fusion_stage,
    name="fusion_validation",
    measure=psnr_of_both,
    summarise=partial(_gain, start="propagation"),
  )


def painter_validation(config: Config) -> Callable[..., FrameValidation]:
  """Is what is painted better than colours carried from the visible part?"""
  return partial(
    FrameValidation,
    stage=config.painter_stage,
    name="painter_validation",
    measure=psnr_of_painting,
    summarise=partial(_gain, start="carried colours"),
  )


def occluder_validation(config: Config) -> Callable[..., FrameValidation]:
  """Do the masks fit, with a free crop to compare with and without one?"""
  return partial(
    FrameValidation,
    stage=config.occluder_stage,
    name="occluder_validation",
    measure=scores_of_masks,
    summarise=_fit,
  )


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


def psnr_of_painting(
  model: DiffMVR, params: Params, batch: Batch
) -> Float[Array, "2 n"]:
  """PSNR in the mask, of what is painted and of carried colours."""
  flat = {name: flatten_frames(value) for name, value in batch.items()}
  truth, symmetric = to_float(flat["target"]), to_float(flat["symmetric"])
  hole = flat["mask"].astype(jnp.float32)
  valid = flat["symmetric_valid"].astype(jnp.float32)
  painted = model.painted(params, truth, hole, symmetric, valid)
  before = carried(truth, 1 - hole)
  return jnp.stack([masked_psnr(x, truth, hole) for x in (painted, before)])


def scores_of_masks(
  model: DiffMVR, params: Params, batch: Batch
) -> Float[Array, "4 n"]:
  """Overlap with a free crop, without one; is it covered, does it seem so."""
  seen = faces(batch)
  mask = seen.mask
  found, unaided = (
    mask_logits(model, params, seen, blind=blind) > 0 for blind in (False, True)
  )
  overlap, covered, seems = mask_scores(found, mask)
  return jnp.stack([overlap, mask_scores(unaided, mask)[0], covered, seems])


def _gain(rows: np.ndarray, *, start: str) -> dict[str, float]:
  after, before = rows
  gain = after - before
  return {
    "psnr": float(after.mean()),
    f"psnr of {start}": float(before.mean()),
    "gain": float(gain.mean()),
    "better": float((gain > 0).mean()),
  }


def _fit(rows: np.ndarray) -> dict[str, float]:
  overlap, unaided, covered, seems = rows
  covered = covered > 0
  return {
    "iou": _mean(overlap[covered]),
    "iou from one picture": _mean(unaided[covered]),
    "false masks": _mean(seems[~covered]),
  }


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else 0.0
