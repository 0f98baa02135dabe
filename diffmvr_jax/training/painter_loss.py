"""What the painter stage minimises: formula (b) of `fusion_loss`, in holes.

The holes are those of the occlusions. Of some frames a side of the hole is
filled with the truth, as where earlier frames have shown it; others get the
hole of another frame, and no symmetric image, since theirs shows what is in the
hole. Faces are turned, scaled, shifted and bent a little, so that a few hundred
become many; light and colour vary from frame to frame.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.warping import carried, warp
from diffmvr_jax.training.fusion_loss import frame_error, masked_psnr
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.objectives import Loss, Metrics

_EXCHANGED = 0.3  # share of frames that get another frame's hole
_PARTLY = 0.3  # share of frames of which a side of the hole is known
_LEAST = 0.05  # δ of formula (b)
# Standard deviations of what moves a face: a turn in radians, a scale, a shift
# and a bend as shares of the crop's side.
_TURN, _SCALE, _SHIFT, _BEND = 0.08, 0.08, 0.04, 0.01
_KNOTS = 6  # of the bend, per side


def painter_loss(model: DiffMVR, gradient_weight: float) -> Loss:
  """Formula (b) against the colours that are carried into the hole."""

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    del step
    truth, hole, symmetric, valid = holes(batch, keys)
    image = model.painted(params, truth, hole, symmetric, valid)
    before = carried(truth, 1 - hole)
    after, start = (
      frame_error(one, truth, hole, gradient_weight) for one in (image, before)
    )
    total = jnp.mean(after / (start + _LEAST))
    psnr = masked_psnr(image, truth, hole)
    gain = psnr - masked_psnr(before, truth, hole)
    metrics = {"loss": total, "psnr": psnr.mean(), "gain": gain.mean()}
    return total, metrics

  return loss


def holes(
  batch: Batch, keys: jax.Array
) -> tuple[
  Float[Array, "n h w 3"],
  Float[Array, "n h w 1"],
  Float[Array, "n h w 3"],
  Float[Array, " n"],
]:
  """Truth, hole, symmetric image, and whether there is one, of each frame.

  Args:
    batch: windows of one frame each.
    keys: one key per window.
  """
  truth = to_float(flatten_frames(batch["target"]))
  mask = flatten_frames(batch["mask"]).astype(jnp.float32)
  symmetric = to_float(flatten_frames(batch["symmetric"]))
  valid = flatten_frames(batch["symmetric_valid"]).astype(jnp.float32)
  others = jnp.roll(mask, 1, 0)
  keys, moved_by = jax.vmap(jax.random.split, out_axes=1)(keys)
  flow = jax.vmap(_move, (0, None))(moved_by, mask.shape[1])
  truth, symmetric, mask = (
    warp(image, flow) for image in (truth, symmetric, mask)
  )
  mask = (mask > 0.5).astype(jnp.float32)
  draw = jax.vmap(_varied)
  return draw(keys, truth, mask, others, symmetric, valid)


def _varied(
  key: jax.Array,
  truth: Float[Array, "h w 3"],
  mask: Float[Array, "h w 1"],
  other: Float[Array, "h w 1"],
  symmetric: Float[Array, "h w 3"],
  valid: Float[Array, ""],
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  keys = jax.random.split(key, 5)
  exchanged = jax.random.bernoulli(keys[0], _EXCHANGED)
  hole = jnp.where(exchanged, other, mask)
  partly = jax.random.bernoulli(keys[1], _PARTLY)
  hole = jnp.where(partly, hole * _side(keys[2], mask.shape[0]), hole)
  gain = jnp.exp(0.12 * jax.random.normal(keys[3], (3,)))
  gain = gain * jnp.exp(0.15 * jax.random.normal(keys[4], ()))
  lit, lit_symmetric = (
    jnp.clip((image + 1) * gain - 1, -1, 1) for image in (truth, symmetric)
  )
  return lit, hole, lit_symmetric, valid * (1 - exchanged)


def _move(key: jax.Array, size: int) -> Float[Array, "h w 2"]:
  """Where each pixel comes from, as a flow in pixels."""
  keys = jax.random.split(key, 4)
  angle = _TURN * jax.random.normal(keys[0])
  scale = jnp.exp(_SCALE * jax.random.normal(keys[1]))
  shift = _SHIFT * size * jax.random.normal(keys[2], (2,))
  knots = jax.random.normal(keys[3], (_KNOTS, _KNOTS, 2))
  bend = _BEND * size * jax.image.resize(knots, (size, size, 2), "cubic")
  places = jnp.arange(size) - (size - 1) / 2
  x, y = jnp.meshgrid(places, places)
  cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
  turned = jnp.stack([x * cos - y * sin, x * sin + y * cos], -1)
  return turned - jnp.stack([x, y], -1) + shift + bend


def _side(key: jax.Array, size: int) -> Float[Array, "h w 1"]:
  """1 on one side of a line through the middle part of the crop."""
  angle, offset = jax.random.uniform(key, (2,))
  places = jnp.linspace(-1, 1, size)
  x, y = jnp.meshgrid(places, places)
  across = x * jnp.cos(2 * jnp.pi * angle) + y * jnp.sin(2 * jnp.pi * angle)
  return (across > 0.8 * (offset - 0.5))[..., None].astype(jnp.float32)
