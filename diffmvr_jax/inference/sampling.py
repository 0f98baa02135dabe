"""Restoring a batch of windows: one pure, jittable function."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from diffmvr_jax.config import ModelConfig, SamplingConfig
from diffmvr_jax.diffusion.samplers import (
  Sampler,
  ddim,
  ddpm,
  dpmpp_2m,
  lcm,
  lcm_timesteps,
  spaced_timesteps,
  window_noise,
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
) -> UInt8[Array, "b f h w 3"]:
  """Encodes, samples and decodes.

  The key is used as it is for every window, so that with `noise_share` 1 all
  frames of a clip start from the same noise.
  """
  model = DiffMVR(config=model_config)
  conditioning = model.condition(params, observation)
  known = conditioning.masked_latents
  frames = observation.frame.shape[1]
  noise_key, key = jax.random.split(key)
  shape = split_frames(known, frames).shape
  noise = flatten_frames(window_noise(noise_key, shape, sampling.noise_share))

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
  latents = sampler(denoise, noise, key, schedule, timesteps)
  return split_frames(to_uint8(model.decode(params, latents)), frames)
