"""Restoring a batch of windows: pure, jittable functions.

Guidance is encoded, and its keys and values are made, once for all steps; the
past frame's (`past_keys_values`) serve every window until it changes.

Guidance strength w_i of branch i (Ho and Salimans 2022, one term per branch
as in Liu et al. 2022, with the null token that training drops it for):

  ỹ = y + Σ_i (w_i − 1) (y − y_{without i})                              (a)

which is the network's own output y where every w_i is 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from diffmvr_jax.config import AutoencoderConfig, ModelConfig, SamplingConfig
from diffmvr_jax.diffusion.anchor import corrected, to_latents, to_residual
from diffmvr_jax.diffusion.noise import frame_noise
from diffmvr_jax.diffusion.samplers import (
  Denoise,
  Sampler,
  ddim,
  ddpm,
  dpmpp_2m,
  lcm,
  lcm_timesteps,
  spaced_timesteps,
)
from diffmvr_jax.diffusion.schedule import Schedule, add_noise, predict_clean
from diffmvr_jax.models.attention import KeysValues
from diffmvr_jax.models.diffmvr import PROMPTS, DiffMVR, Params
from diffmvr_jax.models.frames import (
  flatten_frames,
  split_frames,
  to_float,
  to_uint8,
)
from diffmvr_jax.models.observation import Anchor, Conditioning, Observation
from diffmvr_jax.models.tiny_vae import TinyAutoencoder

_SAMPLERS: dict[str, Sampler] = {
  "ddim": ddim,
  "ddpm": ddpm,
  "dpmpp_2m": dpmpp_2m,
  "lcm": lcm,
}


@struct.dataclass
class PastGuidance:
  """Guidance from the distinct past frames of a window.

  Attributes:
    keys_values: what `past_keys_values` returns for m past frames.
    which: which of the m past frames belongs to each frame.
  """

  keys_values: KeysValues
  which: Int[Array, " n"]


@struct.dataclass
class Region:
  """Where frames and masks lie in the crop, if they are only a part of it.

  Attributes:
    corner: first row and column of the part, in latents.
    side: side of the whole crop, in latents.
  """

  corner: Int[Array, "2"]
  side: int = struct.field(pytree_node=False)


def past_keys_values(
  model_config: ModelConfig,
  params: Params,
  past: UInt8[Array, "m h w 3"],
  valid: Bool[Array, " m"],
) -> KeysValues:
  """Computes the keys and values of past frames for every attention layer.

  Args:
    model_config: configuration of the networks.
    params: parameters of all networks.
    past: the past frames.
    valid: False for a stand-in, where there is no past frame yet.
  """
  model = DiffMVR(config=model_config)
  features = model.guidance_features(params, to_float(past), "past")
  tokens = model.tokens(params, features, valid)
  return model.attended(params, "past", tokens)


def restore_images(
  model_config: ModelConfig,
  sampling: SamplingConfig,
  params: Params,
  schedule: Schedule,
  observation: Observation,
  key: jax.Array,
  frame_index: Int[Array, "b f"],
  past: PastGuidance | None = None,
  previous: UInt8[Array, "h w 3"] | None = None,
  region: Region | None = None,
  *,
  decoder: AutoencoderConfig | None = None,
  prompt: str = "prompt",
) -> Float[Array, "b f h w 3"]:
  """Encodes, samples and decodes; with 0 steps the anchor alone.

  The images are in [−1, 1], or a little outside, as the decoder gives them.

  Args:
    model_config: configuration of the networks.
    sampling: sampler, steps, strengths, and how much of the noise is shared.
    params: parameters of all networks, and of `decoder` if that is given.
    schedule: the noise schedule.
    observation: the windows.
    key: the same key gives the same noise to frames of the same number.
    frame_index: number of each frame in its video.
    past: guidance that replaces the observation's past frames.
    previous: a restoration from which sampling starts, at `sampling.start_at`;
      None means that it starts from noise.
    region: the part of the crop that frames and masks show; None means all of
      it. The noise is cut out of the whole crop's.
    decoder: configuration of a tiny decoder for the same latents, used in
      place of the model's decoder.
    prompt: which of `PROMPTS` a text branch is told.
  """
  model = DiffMVR(config=model_config, anchor=schedule.anchor)
  frames = observation.frame.shape[1]
  if sampling.steps == 0:
    anchor_image = model.anchor_image(params, observation)
    return split_frames(anchor_image, frames)
  encoded = model.observe(params, observation)
  conditioning = model.contextualise(params, encoded, prompt=prompt)
  context = {
    name: model.attended(params, name, tokens)
    for name, tokens in conditioning.context.items()
    if not isinstance(tokens, dict)
  }
  if past is not None:
    context["past"] = jax.tree.map(lambda x: x[past.which], past.keys_values)
  conditioning = conditioning.replace(context=context)
  numbers = flatten_frames(frame_index)

  def draw(key: jax.Array, like: jax.Array) -> jax.Array:
    if region is None:
      return frame_noise(key, numbers, sampling.noise_share, like)
    n, side, _, channels = like.shape
    whole = jnp.zeros((n, region.side, region.side, channels), like.dtype)
    noise = frame_noise(key, numbers, sampling.noise_share, whole)
    corner = (0, *region.corner, 0)
    return jax.lax.dynamic_slice(noise, corner, (n, side, side, channels))

  noise_key, key = jax.random.split(key)
  noise = draw(noise_key, conditioning.masked_latents)
  timesteps = timesteps_of(sampling, schedule.alphas_cumprod.shape[0])
  start = noise
  if sampling.start == "masked":
    first = jnp.full(noise.shape[0], timesteps[0])
    start = add_noise(schedule, conditioning.masked_latents, noise, first)
  if previous is not None:
    timesteps = timesteps[-max(1, round(sampling.steps * sampling.start_at)) :]
    latents = model.encode(params, to_float(previous)[None])
    latents = jnp.broadcast_to(latents, noise.shape)
    first = jnp.full(noise.shape[0], timesteps[0])
    start = add_noise(
      schedule, _from_anchor(params, latents, encoded.anchor), noise, first
    )
  sampler = _SAMPLERS[sampling.sampler]
  if sampling.eta is not None:
    sampler = partial(sampler, eta=sampling.eta)
  denoise = _denoiser(model, sampling, params, schedule, conditioning)
  clean = sampler(denoise, start, key, schedule, timesteps, draw=draw)
  decode = partial(_decode, model, decoder, params)
  return split_frames(
    _pixels(model, params, clean, encoded.anchor, decode), frames
  )


def restore_window(
  model_config: ModelConfig,
  sampling: SamplingConfig,
  *inputs: Any,
  **named: Any,
) -> UInt8[Array, "b f h w 3"]:
  """What `restore_images` gives, which takes the same, as pixels."""
  return to_uint8(restore_images(model_config, sampling, *inputs, **named))


def _from_anchor(
  params: Params, latents: Float[Array, "n i j l"], anchor: Anchor | None
) -> Float[Array, "n i j l"]:
  """Latents as the process sees them, formula (a) of `diffusion.anchor`."""
  if anchor is None:
    return latents
  return to_residual(latents, anchor.latents, params["residual_scale"])


def _pixels(
  model: DiffMVR,
  params: Params,
  clean: Float[Array, "n i j l"],
  anchor: Anchor | None,
  decode: Callable[[jax.Array], jax.Array],
) -> Float[Array, "n h w 3"]:
  """Images of what the process ended with, formulas (b) and (c) there."""
  if anchor is None:
    return decode(clean)
  latents = to_latents(clean, anchor.latents, params["residual_scale"])
  if model.config.decoding == "plain":
    return decode(latents)
  return corrected(anchor.image, decode(latents), decode(anchor.latents))


def _decode(
  model: DiffMVR,
  decoder: AutoencoderConfig | None,
  params: Params,
  latents: Float[Array, "n i j l"],
) -> Float[Array, "n h w 3"]:
  if decoder is None:
    return model.decode(params, latents)
  tiny = TinyAutoencoder(decoder, jnp.dtype(model.config.dtype))
  weights = {"params": params["tiny_decoder"]}
  images = tiny.apply(weights, latents, method="decode")
  assert isinstance(images, jax.Array)
  return images


def timesteps_of(sampling: SamplingConfig, total: int) -> Int[Array, " k"]:
  """Returns the timesteps of sampling from pure noise, descending."""
  if sampling.sampler == "lcm":
    return lcm_timesteps(total, sampling.steps, sampling.grid)
  return spaced_timesteps(total, sampling.steps)


def _denoiser(
  model: DiffMVR,
  sampling: SamplingConfig,
  params: Params,
  schedule: Schedule,
  conditioning: Conditioning,
) -> Denoise:
  """Predicts clean latents from noisy ones, formula (a)."""
  strengths: dict[str, float] = dict(
    zip(model.config.unet.branches, sampling.guidance, strict=False)
  )
  changed = [name for name, w in strengths.items() if w != 1]
  variants = [_without(model, params, conditioning, b) for b in changed]

  def join(*parts: jax.Array) -> jax.Array:
    return jnp.concatenate(parts)

  together = jax.tree.map(join, conditioning, *variants)

  def denoise(noisy: jax.Array, timestep: jax.Array) -> Float[Array, "n i j l"]:
    copies = 1 + len(variants)
    timesteps = jnp.full(copies * noisy.shape[0], timestep)
    outputs = model.predict(
      params, jnp.tile(noisy, (copies, 1, 1, 1)), timesteps, together
    )
    output, *others = jnp.split(outputs, copies)
    own = output
    for name, other in zip(changed, others, strict=True):
      output = output + (strengths[name] - 1) * (own - other)
    clean = predict_clean(schedule, noisy, output, timesteps[: noisy.shape[0]])
    if model.config.mask_conditioning == "blend":
      # The network may not change the known region, of which an anchor lacks
      # nothing. The sampler adds noise to it again for the next step.
      known = conditioning.masked_latents if model.anchor == "none" else 0
      clean = jnp.where(conditioning.mask > 0, clean, known)
    return clean

  return denoise


def _without(
  model: DiffMVR, params: Params, conditioning: Conditioning, branch: str
) -> Conditioning:
  """Returns the conditioning without the guidance of one branch.

  Without its text a network gets the empty prompt, as in classifier-free
  guidance.
  """
  if branch == "text":
    row = PROMPTS.index("empty")
    prompt = model.prompts(params)[row : row + 1]
    empty = model.attended(params, branch, prompt)
    context = {**conditioning.context}
    context[branch] = jax.tree.map(
      lambda x, like: jnp.broadcast_to(x, like.shape), empty, context[branch]
    )
    return conditioning.replace(context=context)
  dropped = jnp.zeros_like(conditioning.valid[branch])
  valid = {**conditioning.valid, branch: dropped}
  guided = jnp.stack(list(valid.values())).any(0)[:, None, None]
  null = params["guidance"]["null_token"][None, None]

  def unless_alone(name: str, own: KeysValues) -> KeysValues:
    nothing = model.attended(params, name, null)
    return jax.tree.map(lambda x, y: jnp.where(guided, x, y), own, nothing)

  context = {}
  for name, own in conditioning.context.items():
    assert isinstance(own, dict)
    context[name] = unless_alone(name, own)
  aligned = {
    name: jnp.zeros_like(x) if name == branch else x
    for name, x in conditioning.aligned.items()
  }
  return conditioning.replace(context=context, valid=valid, aligned=aligned)
