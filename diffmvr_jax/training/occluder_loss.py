"""What the occluder stage minimises, and how well its masks fit.

Each frame is a window of its own, covered or free. With p the probability of
each pixel and m the true mask, the loss of a frame is the cross-entropy of p,
in which pixels near the mask's outline count more, and of covered frames also

  1 − (2 Σ p m + 1) / (Σ p + Σ m + 1),

the Dice loss (Milletari et al. 2016), which weighs a small mask like a large
one.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.objectives import Loss, Metrics

_NEAR = 5  # side of the square within which an outline is near, in pixels
_NEAR_WEIGHT = 3.0
_FREE_AREA = 0.005  # share of the crop; less of a mask is none


def occluder_loss(model: DiffMVR, blind: float) -> Loss:
  """Cross-entropy plus Dice; a share `blind` of frames has no free crop."""

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    del step
    frames = batch["mask"].shape[1]
    hide = jax.vmap(lambda key: jax.random.bernoulli(key, blind, (frames,)))
    logits = mask_logits(model, params, batch, hidden=hide(keys))
    mask = flatten_frames(batch["mask"]).astype(jnp.float32)
    weight = 1 + (_NEAR_WEIGHT - 1) * outline(mask)
    cross = optax.sigmoid_binary_cross_entropy(logits, mask) * weight
    dice = dice_loss(nn.sigmoid(logits), mask)
    total = jnp.mean(cross) + jnp.mean(dice)
    overlap, is_covered, false = mask_scores(logits > 0, mask)
    count = jnp.maximum(is_covered.sum(), 1)
    free = jnp.maximum((1 - is_covered).sum(), 1)
    return total, {
      "loss": total,
      "iou": (overlap * is_covered).sum() / count,
      "false": (false * (1 - is_covered)).sum() / free,
    }

  return loss


def mask_logits(
  model: DiffMVR,
  params: Params,
  batch: Batch,
  hidden: Array | None = None,
) -> Float[Array, "n h w 1"]:
  """Logits for the frames of a batch.

  Args:
    model: the networks.
    params: their parameters.
    batch: windows as `data.windows` reads them.
    hidden: (window, frame), True where the free crop is hidden; None: nowhere.
  """
  valid = batch["past_valid"]
  if hidden is not None:
    valid = valid & ~hidden
  return model.covered(
    params,
    to_float(flatten_frames(batch["frame"])),
    to_float(flatten_frames(batch["past"])),
    flatten_frames(valid),
  )


def outline(mask: Float[Array, "n h w 1"]) -> Float[Array, "n h w 1"]:
  """1 near the border between covered and visible pixels."""
  window, strides = (_NEAR, _NEAR), (1, 1)
  grown = nn.max_pool(mask, window, strides, "SAME")
  return grown + nn.max_pool(-mask, window, strides, "SAME")


def dice_loss(
  probability: Float[Array, "n h w 1"], mask: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
  """1 minus Dice's coefficient of each covered frame, 0 for free ones.

  Example:
    >>> one = jnp.ones((1, 4, 4, 1))
    >>> float(dice_loss(one, one)[0])
    0.0
  """
  shared = (probability * mask).sum((1, 2, 3))
  both = (probability + mask).sum((1, 2, 3))
  loss = 1 - (2 * shared + 1) / (both + 1)
  return jnp.where(mask.any((1, 2, 3)), loss, 0.0)


def mask_scores(
  found: Array, mask: Float[Array, "n h w 1"]
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
  """Intersection over union; whether a frame is covered; whether it seems so.

  Less than 0.5 % of the crop counts as nothing, as in `data_prep`.

  Example:
    >>> half = jnp.zeros((1, 4, 4, 1)).at[:, :2].set(1)
    >>> overlap, covered, found = mask_scores(jnp.ones_like(half) > 0, half)
    >>> float(overlap[0]), float(covered[0]), float(found[0])
    (0.5, 1.0, 1.0)
  """
  found = found.astype(jnp.float32)
  shared = (found * mask).sum((1, 2, 3))
  union = jnp.maximum(found, mask).sum((1, 2, 3))
  covered = (mask.mean((1, 2, 3)) > _FREE_AREA).astype(jnp.float32)
  seems = (found.mean((1, 2, 3)) > _FREE_AREA).astype(jnp.float32)
  return shared / jnp.maximum(union, 1), covered, seems
