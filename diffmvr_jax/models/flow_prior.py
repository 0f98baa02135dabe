"""Completes flow under an occlusion, from what faces' flows are like.

Flows of a face have few degrees of freedom: as a Gaussian with zero mean and m
principal components B with variances v, they are f = B c. Of the flow y that
was seen on visible cells, with weights w, and an error σ, the posterior mean
is

  c = (Bᵀ W B / σ² + diag(1/v))⁻¹ Bᵀ W y / σ²                       (1)
  w ← w₀ / (1 + 4 |y − B c|² / σ²)                                  (2)

twice, with w₀ = 1 on visible cells, so that what moves otherwise counts less.
What remains of y is carried under the mask and added. The components are those
of the covariance

  C_ij = Σ_n w_ni w_nj f_ni f_nj / Σ_n w_ni w_nj                    (3)

of flows, each with its mirror image, where only visible cells count.
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Float16, UInt8

from diffmvr_jax.models.warping import carried, enlarge, pooled

SIDE = 32  # cells along one axis
_ERROR = 2 / 128  # σ, of the crop's side
_ROUNDS = 2


def empty_prior(components: int) -> dict[str, Array]:
  """Parameters before `fitted_prior`: a prior that says nothing."""
  return {
    "components": jnp.zeros((components, SIDE, SIDE, 2)),
    "variances": jnp.ones(components),
  }


def fitted_prior(
  flow: Float[np.ndarray, "n 32 32 2"],
  visible: Float[np.ndarray, "n 32 32"],
  components: int,
) -> dict[str, Array]:
  """Eq. (3).

  Args:
    flow: flows in units of the crop's side.
    visible: 1 on cells whose flow was seen, else 0.
    components: how many to keep.
  """
  mirrored = flow[:, :, ::-1] * np.asarray([-1, 1], flow.dtype)
  both = np.concatenate([flow, mirrored])
  seen = np.concatenate([visible, visible[:, :, ::-1]])
  weight = np.repeat(seen.reshape(len(both), -1), 2, -1).astype(np.float32)
  values = both.reshape(len(both), -1).astype(np.float32) * weight
  covariance = values.T @ values / np.maximum(weight.T @ weight, 1)
  variances, vectors = np.linalg.eigh(covariance)
  chosen = np.argsort(variances)[::-1][:components]
  return {
    "components": jnp.asarray(vectors[:, chosen].T.reshape(-1, SIDE, SIDE, 2)),
    "variances": jnp.asarray(np.maximum(variances[chosen], 1e-9)),
  }


def visible_flows(
  flow: Float16[np.ndarray, "k g g 2"],
  valid: Bool[np.ndarray, " k"],
  mask: UInt8[np.ndarray, "h w 1"],
) -> tuple[Float[np.ndarray, "m 32 32 2"], Float[np.ndarray, "m 32 32"]]:
  """Flows of one frame to the sources that exist, as `fitted_prior` takes them.

  Returns:
    Flows in units of the crop's side, and 1 on the cells that are visible.
  """
  chosen = jnp.asarray(flow[valid], jnp.float32)
  share = 1 - _resized(jnp.asarray(mask, jnp.float32)[None], SIDE)[0, ..., 0]
  shown = np.asarray(share > 0.99, np.float32)
  flows = np.asarray(_resized(chosen, SIDE)) / mask.shape[0]
  return flows, np.broadcast_to(shown, (len(flows), SIDE, SIDE))


def completed(
  prior: Mapping[str, jax.Array],
  flow: Float[Array, "n g g 2"],
  mask: Float[Array, "n h w 1"],
) -> Float[Array, "n g g 2"]:
  """Eqs. (1) and (2) under the mask; the flow itself elsewhere.

  Args:
    prior: what `fitted_prior` gives.
    flow: flows in pixels of the crop.
    mask: 1 on the occlusion.
  """
  size, side = mask.shape[1], flow.shape[1]
  share = 1 - _resized(mask, SIDE)
  whole = (share > 0.99).astype(flow.dtype)
  visible = -nn.max_pool(-whole, (3, 3), (1, 1), "SAME")
  seen = _resized(flow, SIDE) / size
  basis = prior["components"].reshape(len(prior["variances"]), -1)
  posterior = partial(_posterior, basis, prior["variances"])
  mean = jax.vmap(posterior)(seen, visible)
  mean = mean + carried(seen - mean, visible)
  # A feathered seam, beyond the cells that the occluder's edge touches.
  hidden = nn.max_pool(_resized(mask, side), (3, 3), (1, 1), "SAME")
  return flow + hidden * (_resized(mean, side) * size - flow)


def _posterior(
  basis: Float[Array, "m d"],
  variances: Float[Array, " m"],
  seen: Float[Array, "g g 2"],
  visible: Float[Array, "g g 1"],
) -> Float[Array, "g g 2"]:
  """Eqs. (1) and (2) for one flow."""
  mean, weight = jnp.zeros_like(seen), visible
  for _ in range(_ROUNDS):
    both = jnp.broadcast_to(weight, seen.shape).ravel() / _ERROR**2
    information = (basis * both) @ basis.T + jnp.diag(1 / variances)
    factor = jax.scipy.linalg.cho_factor(information)
    score = basis @ (both * seen.ravel())
    coefficients = jax.scipy.linalg.cho_solve(factor, score)
    mean = (coefficients @ basis).reshape(seen.shape)
    apart = jnp.square((seen - mean) / (_ERROR / 2)).sum(-1, keepdims=True)
    weight = visible / (1 + apart)
  return mean


def _resized(x: Float[Array, "n h w c"], side: int) -> Float[Array, "n i j c"]:
  if x.shape[1] > side:
    return pooled(x, x.shape[1] // side)
  return enlarge(x, side // x.shape[1])
