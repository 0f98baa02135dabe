"""What the occluder stage minimises, and how well its masks fit.

Each frame is a window of its own, covered or free. With p the probability of
each pixel and m = 1 where something has visibly changed the picture, the loss
of a frame is the cross-entropy of p, in which pixels near the outline of m
count more, and of covered frames also

  1 − (2 Σ p m + 1) / (Σ p + Σ m + 1),

the Dice loss (Milletari et al. 2016), which weighs a small mask like a large
one. Half of the faces are covered by what covers another one in the batch,
moved, mirrored and in other colours, so that a few hundred occluders become
many. Light differs between a crop and the free one beside it.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float

from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.objectives import Loss, Metrics

_VISIBLE = 0.06  # change of a colour that is seen, for images in [−1, 1]
_EXCHANGED = 0.5  # share of faces that get another one's occluder
_REACH = 32  # pixels by which it moves, at most
_NEAR = 5  # side of the square within which an outline is near, in pixels
_NEAR_WEIGHT = 3.0
_FREE_AREA = 0.005  # share of the crop; less of a mask is none


def occluder_loss(model: DiffMVR, blind: float) -> Loss:
  """Cross-entropy plus Dice; a share `blind` of frames has no free crop."""

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    del step
    seen = jax.vmap(_varied)(keys, faces(batch), _of_the_next(faces(batch)))
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


@struct.dataclass
class Faces:
  """Crops of faces, in [−1, 1], each with the last free one before it.

  Attributes:
    crop: the crop, covered or free.
    truth: the same without what covers it.
    mask: 1 where it has visibly changed the picture.
    free: the last free crop.
    free_valid: whether there is one.
  """

  crop: Float[Array, "*n h w 3"]
  truth: Float[Array, "*n h w 3"]
  mask: Float[Array, "*n h w 1"]
  free: Float[Array, "*n h w 3"]
  free_valid: Bool[Array, "*n"]


def faces(batch: Batch) -> Faces:
  """The frames of a batch, as `data.windows` reads them."""
  flat = {name: flatten_frames(value) for name, value in batch.items()}
  crop, truth = to_float(flat["frame"]), to_float(flat["target"])
  return Faces(
    crop=crop,
    truth=truth,
    mask=visible(crop, truth) * flat["mask"].astype(jnp.float32),
    free=to_float(flat["past"]),
    free_valid=flat["past_valid"],
  )


def visible(
  crop: Float[Array, "n h w 3"], truth: Float[Array, "n h w 3"]
) -> Float[Array, "n h w 1"]:
  """1 where a crop differs from the truth by more than is overlooked."""
  apart = jnp.abs(crop - truth).max(-1, keepdims=True)
  window, strides = (3, 3), (1, 1)
  smooth = nn.avg_pool(apart, window, strides, "SAME")
  differs = (smooth > _VISIBLE).astype(jnp.float32)
  # Where occluder and skin happen to have one colour, it is covered too.
  grown = nn.max_pool(differs, (5, 5), strides, "SAME")
  return -nn.max_pool(-grown, (5, 5), strides, "SAME")


def _of_the_next(seen: Faces) -> Faces:
  return jax.tree.map(lambda x: jnp.roll(x, 1, 0), seen)


def _varied(key: jax.Array, own: Faces, other: Faces) -> Faces:
  """One face, perhaps under another one's occluder, and in other light."""
  keys = jax.random.split(key, 6)
  layer = jnp.concatenate([other.crop, other.mask], -1)
  layer = jnp.where(jax.random.bernoulli(keys[0]), layer[:, ::-1], layer)
  shift = jax.random.randint(keys[1], (2,), 0, 2 * _REACH + 1)
  border = ((_REACH, _REACH), (_REACH, _REACH), (0, 0))
  layer = jax.lax.dynamic_slice(
    jnp.pad(layer, border), (shift[0], shift[1], 0), layer.shape
  )
  colour, mask = layer[..., :3], layer[..., 3:]
  gain = jnp.exp(0.2 * jax.random.normal(keys[2], (3,)))
  colour = jnp.clip((colour + 1) * gain - 1, -1, 1)
  share = nn.avg_pool(mask[None], (3, 3), (1, 1), "SAME")[0]
  covered = own.truth + share * (colour - own.truth)
  exchanged = jax.random.bernoulli(keys[3], _EXCHANGED)
  crop = jnp.where(exchanged, covered, own.crop)
  light = jnp.exp(0.08 * jax.random.normal(keys[4], (2, 1, 1, 1)))
  tint = jnp.exp(0.03 * jax.random.normal(keys[5], (2, 1, 1, 3)))
  crop, free = jnp.clip(
    (jnp.stack([crop, own.free]) + 1) * light * tint - 1, -1, 1
  )
  return own.replace(
    crop=crop, free=free, mask=jnp.where(exchanged, mask, own.mask)
  )


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
