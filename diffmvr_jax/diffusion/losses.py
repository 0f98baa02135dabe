"""The training losses.

  L        = L_diff + λ L_motion                                Eq. (3)
  L_diff   = mean ‖ε − ε_θ‖²                                    Eq. (1)
  L_motion = 2/N Σ_t mean ‖(y_{t+1} − y_t) − r_t‖²              Eq. (4)

over the N frames t of a window. The paper takes Eq. (4) on the noisy latents
y_{t,T} with r_t = 0; those do not depend on θ, so that term has no gradient.
`motion_subject` offers the alternatives that do.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffmvr_jax.diffusion.schedule import (
  Schedule,
  alpha_bar,
  posterior,
  predict_clean,
)


def denoising_loss(
  output: Float[Array, "n *s"],
  target: Float[Array, "n *s"],
  weight: Float[Array, "n ..."] | None = None,
) -> Float[Array, " n"]:
  """L_diff of each frame: mean squared error over positions and channels.

  Args:
    output: what the network predicts.
    target: what it should predict.
    weight: relative weight of each position, broadcast over channels. None
      weighs all positions alike, as the paper does. Each frame's error is
      divided by the sum of its weights.

  Example:
    >>> denoising_loss(jnp.zeros((2, 3)), jnp.full((2, 3), 2.0))
    Array([4., 4.], dtype=float32)
  """
  squared = jnp.square(output - target)
  within = tuple(range(1, squared.ndim))
  if weight is None:
    return jnp.mean(squared, within)
  weight = jnp.broadcast_to(weight, squared.shape)
  return (squared * weight).sum(within) / weight.sum(within)


def min_snr_weight(
  schedule: Schedule, timesteps: Int[Array, " n"], gamma: float
) -> Float[Array, " n"]:
  """Weight of a frame's L_diff by Min-SNR-γ (Hang et al. 2023).

  min(SNR, γ) / SNR for ε-prediction, min(SNR, γ) / (SNR + 1) for v, and
  min(SNR, γ) for y_0, where SNR is ᾱ / (1 − ᾱ).
  """
  a = alpha_bar(schedule, timesteps)
  snr = a / (1 - a)
  if schedule.prediction == "sample":
    return jnp.minimum(snr, gamma)
  offset = 1 if schedule.prediction == "v" else 0
  return jnp.minimum(snr, gamma) / (snr + offset)


def motion_subject(
  on: Literal["noisy", "x0", "posterior"],
  schedule: Schedule,
  noisy: Float[Array, "n *s"],
  output: Float[Array, "n *s"],
  timesteps: Int[Array, " n"],
) -> Float[Array, "n *s"]:
  """The latents that Eq. (4) compares across frames.

  Args:
    on: `noisy`, y_{t,T} as printed (no gradient); `x0`, the predicted clean
      latents; `posterior`, the predicted mean of y_{t,T−1}.
    schedule: the noise schedule.
    noisy: y_{t,T}.
    output: the network's output.
    timesteps: timestep T of each frame.
  """
  if on == "noisy":
    return noisy
  clean = predict_clean(schedule, noisy, output, timesteps)
  if on == "x0":
    return clean
  return posterior(schedule, noisy, clean, timesteps, timesteps - 1)[0]


def motion_loss(
  latents: Float[Array, "b f *s"],
  reference: Float[Array, "b f *s"] | None = None,
) -> Float[Array, ""]:
  """L_motion, Eq. (4), averaged over the batch; 0 for windows of one frame.

  Args:
    latents: latents that are compared across adjacent frames.
    reference: latents whose differences are subtracted, so that real motion
      is not punished; None subtracts nothing, as printed.

  Example:
    >>> motion_loss(jnp.array([[[0.0], [1.0]]]))
    Array(1., dtype=float32)
  """
  frames = latents.shape[1]
  if frames < 2:
    return jnp.float32(0)
  difference = latents[:, 1:] - latents[:, :-1]
  if reference is not None:
    difference -= reference[:, 1:] - reference[:, :-1]
  # The mean is over N − 1 pairs; Eq. (4) sums them and multiplies by 2/N.
  return jnp.mean(jnp.square(difference)) * (2 * (frames - 1) / frames)
