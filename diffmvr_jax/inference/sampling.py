"""Restoring a batch of windows: one pure, jittable function."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from diffmvr_jax.config import ModelConfig, SamplingConfig
from diffmvr_jax.diffusion.samplers import (
  Sampler,
  ddim,
  ddpm,
  dpmpp_2m,
  frame_noise,
  lcm,
  lcm_timesteps,
  spaced_timesteps,
)
from diffmvr_jax.diffusion.schedule import Schedule, predict_clean
from diffmvr_jax.models.diffmvr import (
  DiffMVR,
  Observation,
  Params,
  flatten_frames,
  split_frames,
  to_uint8,
)

_SAMPLERS: dict[str, Sampler] = {
  "ddim": ddim,
  "ddpm": ddpm,
  "dpmpp_2m": dpmpp_2m,
  "lcm": lcm,
}


def restore_window(
  model_config: ModelConfig,
  sampling: SamplingConfig,
  params: Params,
  schedule: Schedule,
  observation: Observation,
  key: jax.Array,
  frame_index: Int[Array, "b f"],
) -> UInt8[Array, "b f h w 3"]:
  """Encodes, samples and decodes.

  Args:
    model_config: of the networks.
    sampling: sampler, steps, and how much of the noise frames share.
    params: of all networks.
    schedule: the noise schedule.
    observation: the windows.
    key: the same key gives the same noise to frames of the same number.
    frame_index: of each frame, in its video.
  """
  model = DiffMVR(config=model_config)
  conditioning = model.condition(params, observation)
  known = conditioning.masked_latents
  frames = observation.frame.shape[1]
  numbers = flatten_frames(frame_index)

  def draw(key: jax.Array, like: jax.Array) -> jax.Array:
    return frame_noise(key, numbers, sampling.noise_share, like)

  noise_key, key = jax.random.split(key)
  noise = draw(noise_key, known)

  def denoise(noisy: jax.Array, timestep: jax.Array) -> Float[Array, "n i j l"]:
    timesteps = jnp.full(noisy.shape[0], timestep)
    output = model.predict(params, noisy, timesteps, conditioning)
    clean = predict_clean(schedule, noisy, output, timesteps)
    if model_config.mask_conditioning == "blend":
      # The known region is not the network's to change; the sampler noises
      # it again for the next step.
      clean = jnp.where(conditioning.mask > 0, clean, known)
    return clean

  spacing = lcm_timesteps if sampling.sampler == "lcm" else spaced_timesteps
  timesteps = spacing(schedule.alphas_cumprod.shape[0], sampling.steps)
  sampler = _SAMPLERS[sampling.sampler]
  if sampling.eta is not None:
    sampler = partial(sampler, eta=sampling.eta)
  latents = sampler(denoise, noise, key, schedule, timesteps, draw=draw)
  return split_frames(to_uint8(model.decode(params, latents)), frames)
