"""What the fusion stage minimises, in and around the mask.

With y the fused image, x the truth, and w = 1 under the mask and at its border,
else 0, the error of a frame is

  E(y) = ⟨√(|y − x|² + ε²)⟩_w + λ Σ_s ⟨|∇ D_s y − ∇ D_s x|⟩_w           (a)

where D_s shrinks by 2^s, ∇ are differences of neighbours along both axes, and
⟨·⟩_w is the mean weighed by w. The first term is Charbonnier's (Lai et al.
2017); the second keeps edges sharp at every scale. What is minimised is the
part of the propagated image's error that is left,

  L = mean over frames of E(y) / (E(c) + δ),                            (b)

so that a frame that is almost right counts as much as one that is far off.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.observation import observed
from diffmvr_jax.models.warping import pooled
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.objectives import Loss, Metrics

_EPSILON = 1e-3  # ε, for images in [−1, 1]
_MARGIN = 1  # pixels around the mask that count, against seams
_LEAST = 0.02  # δ; below it a frame is right
_SCALES = 3


def fusion_loss(model: DiffMVR, gradient_weight: float) -> Loss:
  """Formula (b); λ is `gradient_weight`."""

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    del keys, step
    seen = observed(batch)
    image = model.fused(params, seen)
    truth = to_float(flatten_frames(batch["target"]))
    mask = flatten_frames(batch["mask"]).astype(jnp.float32)
    side = 2 * _MARGIN + 1
    weight = nn.max_pool(mask, (side, side), (1, 1), "SAME")
    before = to_float(flatten_frames(batch["propagated"]))
    after, start = (
      frame_error(one, truth, weight, gradient_weight)
      for one in (image, before)
    )
    total = jnp.mean(after / (start + _LEAST))
    psnr = masked_psnr(image, truth, mask)
    gain = psnr - masked_psnr(before, truth, mask)
    return total, {
      "loss": total,
      "psnr": jnp.mean(psnr),
      "gain": jnp.mean(gain),
    }

  return loss


def frame_error(
  image: Float[Array, "n h w 3"],
  truth: Float[Array, "n h w 3"],
  weight: Float[Array, "n h w 1"],
  gradient_weight: float,
) -> Float[Array, " n"]:
  """Formula (a); λ is `gradient_weight`.

  Example:
    >>> flat, one = jnp.zeros((1, 8, 8, 3)), jnp.ones((1, 8, 8, 1))
    >>> round(float(frame_error(flat + 0.5, flat, one, 0.5)[0]), 3)
    0.5
  """
  apart = jnp.sqrt(jnp.square(image - truth) + _EPSILON**2)
  edges = gradient_error(image, truth, weight)
  return weighed(apart, weight) + gradient_weight * edges


def gradient_error(
  image: Float[Array, "n h w 3"],
  truth: Float[Array, "n h w 3"],
  weight: Float[Array, "n h w 1"],
) -> Float[Array, " n"]:
  """The second term of formula (a), without λ.

  Example:
    >>> flat, one = jnp.zeros((1, 8, 8, 3)), jnp.ones((1, 8, 8, 1))
    >>> float(gradient_error(flat + 0.5, flat, one)[0])
    0.0
  """
  apart, total = image - truth, jnp.zeros(len(image))
  for scale in range(_SCALES):
    if scale:
      apart, weight = pooled(apart, 2), pooled(weight, 2)
    for axis in (1, 2):
      both = jnp.minimum(
        jnp.delete(weight, 0, axis), jnp.delete(weight, -1, axis)
      )
      total = total + weighed(jnp.abs(jnp.diff(apart, axis=axis)), both)
  return total


def weighed(
  values: Float[Array, "n h w c"], weight: Float[Array, "n h w 1"]
) -> Float[Array, " n"]:
  """The weighed mean of each frame; 0 if nothing counts."""
  sums = (values * weight).sum((1, 2, 3))
  return sums / (weight.sum((1, 2, 3)) * values.shape[-1] + 1e-6)


def masked_psnr(
  image: Float[Array, "n h w 3"],
  truth: Float[Array, "n h w 3"],
  mask: Float[Array, "n h w 1"],
) -> Float[Array, " n"]:
  """PSNR in the mask of each frame, dB; at most 60."""
  squared = weighed(jnp.square(jnp.clip(image, -1, 1) - truth), mask)
  return 10 * jnp.log10(4 / jnp.maximum(squared, 4e-6))
