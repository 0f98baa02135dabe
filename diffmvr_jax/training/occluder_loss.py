"""What the occluder stage minimises, and how well its masks fit.

Each frame is a window of its own, covered or free. With p the probability of
each pixel and m its mask, the loss of a frame is the cross-entropy of p, in
which pixels near the outline of m count more, and of covered frames also

  1 − (2 Σ p m + 1) / (Σ p + Σ m + 1),

the Dice loss (Milletari et al. 2016), which weighs a small mask like a large
one; of free frames Σ p / (Σ p + A), where A is the area that counts as
something. The faces are those of `varied_faces`.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.objectives import Loss, Metrics
from diffmvr_jax.training.varied_faces import Faces, faces, varied

_NEAR = 5  # side of the square within which an outline is near, in pixels
_NEAR_WEIGHT = 3.0
_FREE_AREA = 0.005  # share of the crop; less of a mask is none


def occluder_loss(model: DiffMVR, blind: float) -> Loss:
  """Cross-entropy plus Dice; a share `blind` of frames has no free crop."""

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    del step
    seen = varied(keys, faces(batch))
    hidden = jax.vmap(lambda key: jax.random.bernoulli(key, blind))(keys)
    there = seen.free_valid & ~hidden
    logits = model.covered(params, seen.crop, seen.free, there)
    mask = seen.mask
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
  model: DiffMVR, params: Params, seen: Faces, *, blind: bool = False
) -> Float[Array, "n h w 1"]:
  """Logits for faces as they are; `blind` hides the free crops."""
  there = seen.free_valid & jnp.logical_not(blind)
  return model.covered(params, seen.crop, seen.free, there)


def outline(mask: Float[Array, "n h w 1"]) -> Float[Array, "n h w 1"]:
  """1 near the border between covered and visible pixels."""
  window, strides = (_NEAR, _NEAR), (1, 1)
  grown = nn.max_pool(mask, window, strides, "SAME")
  return grown + nn.max_pool(-mask, window, strides, "SAME")


def dice_loss(
  probability: Float[Array, "n h w 1"], mask: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
  """Of covered frames 1 minus Dice's coefficient; of free ones see above.

  Example:
    >>> one = jnp.ones((1, 4, 4, 1))
    >>> float(dice_loss(one, one)[0]), float(dice_loss(0 * one, 0 * one)[0])
    (0.0, 0.0)
  """
  shared = (probability * mask).sum((1, 2, 3))
  found, area = (one.sum((1, 2, 3)) for one in (probability, mask))
  covered = 1 - (2 * shared + 1) / (found + area + 1)
  free = found / (found + _FREE_AREA * mask[0].size)
  return jnp.where(area > 0, covered, free)


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
