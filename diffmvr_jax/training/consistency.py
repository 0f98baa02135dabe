"""Distilling a trained model into one that restores in a few steps.

Latent consistency distillation (Luo et al. 2023, Algorithm 1). With the
consistency function f(z, t) = c_skip(t) z + c_out(t) ŷ_0(z, t), a timestep
t_n of the grid that `lcm` samples on, the next lower one t_m, and ẑ the
teacher's DDIM step from z at t_n to t_m, the student learns

  f(z, t_n) = stopgrad f(ẑ, t_m)                                        (a)

in the pseudo-Huber metric √(d² + c²) − c of Song and Dhariwal 2023, who also
show that the student's own parameters, not their average, do on the right.
Below the grid's last timestep lies clean data, where f is the identity. Only
the U-Net is trained: the student's context tokens are the teacher's.
"""

import jax
import jax.numpy as jnp

from diffmvr_jax.checkpoints.training_state import TEACHER
from diffmvr_jax.config import Config
from diffmvr_jax.diffusion.losses import denoising_loss
from diffmvr_jax.diffusion.samplers import consistency_weights
from diffmvr_jax.diffusion.schedule import (
  add_noise,
  aligned,
  alpha_bar,
  implied_noise,
  make_schedule,
  predict_clean,
)
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames
from diffmvr_jax.training.inputs import Batch, Encode
from diffmvr_jax.training.objectives import (
  Loss,
  Metrics,
  clean_latents,
  latent_weight,
  window_draws,
)


def with_teacher(params: Params) -> Params:
  """Adds the U-Net that the student starts as, to stay as it is."""
  return params | {TEACHER: jax.tree.map(jnp.copy, params["unet"])}


def consistency_loss(model: DiffMVR, config: Config, encode: Encode) -> Loss:
  """Formula (a); L_motion has no part in it.

  Args:
    model: the networks.
    config: configuration of the run.
    encode: makes latents and encodings of guidance images from a batch.

  Returns:
    A loss of parameters that hold the teacher's U-Net as `TEACHER`.
  """
  settings = config.diffusion_stage.consistency
  schedule = make_schedule(config.diffusion)
  spacing = config.diffusion.steps // settings.grid

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    del step
    sample = encode(params, batch)
    draws = window_draws(config, keys, sample)
    clean = clean_latents(config, params, sample, draws)
    place = draws.timesteps // spacing  # on the grid, counted from below
    frames = clean.shape[0] // keys.shape[0]
    high = jnp.repeat((place + 1) * spacing - 1, frames)
    low = high - spacing
    noisy = add_noise(schedule, clean, flatten_frames(draws.noise), high)
    conditioning = model.contextualise(params, sample.encoded)

    def clean_of(unet: Params, z: jax.Array, t: jax.Array) -> jax.Array:
      output = model.predict(params | {"unet": unet}, z, t, conditioning)
      return predict_clean(schedule, z, output, t)

    def consistent(z: jax.Array, t: jax.Array) -> jax.Array:
      skip, out = (aligned(c, z) for c in consistency_weights(t))
      return skip * z + out * clean_of(params["unet"], z, t)

    def teacher_step(z: jax.Array) -> jax.Array:
      """DDIM from t_n to t_m."""
      guess = clean_of(params[TEACHER], z, high)
      b = aligned(alpha_bar(schedule, low), z)
      epsilon = implied_noise(schedule, z, guess, high)
      return jnp.sqrt(b) * guess + jnp.sqrt(1 - b) * epsilon

    stepped = teacher_step(noisy)
    target = jax.lax.stop_gradient(
      jnp.where(
        aligned(low, stepped) < 0,
        stepped,
        consistent(stepped, jnp.maximum(low, 0)),
      )
    )
    weight = latent_weight(config, conditioning.mask)
    squared = denoising_loss(consistent(noisy, high), target, weight)
    c = settings.huber
    total = jnp.mean(jnp.sqrt(squared + c**2) - c)
    return total, {"loss": total, "squared": jnp.mean(squared)}

  return loss
