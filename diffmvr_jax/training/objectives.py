"""What the two stages minimise, as pure functions of parameters and a batch.

Each window of the global batch has a key of its own, so it gets the same noise
on any mesh and with any accumulation.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from diffmvr_jax.config import Config
from diffmvr_jax.data.windows import CHANNELS, FLAGS
from diffmvr_jax.diffusion.losses import (
  denoising_loss,
  min_snr_weight,
  motion_loss,
  motion_subject,
)
from diffmvr_jax.diffusion.samplers import window_noise
from diffmvr_jax.diffusion.schedule import (
  add_noise,
  make_schedule,
  training_target,
)
from diffmvr_jax.models.diffmvr import (
  DiffMVR,
  Encoded,
  Observation,
  Params,
  flatten_frames,
  split_frames,
  to_float,
)

Batch = dict[str, Any]
Metrics = dict[str, Float[Array, ""]]
# Of parameters, a batch, one key per window, and the updates applied so far.
Loss = Callable[
  [Params, Batch, jax.Array, jax.Array], tuple[jax.Array, Metrics]
]


@struct.dataclass
class Sample:
  """Windows as the diffusion stage takes them; n is batch · frame.

  Attributes:
    mean: of the unoccluded frames' scaled latents.
    deviation: of the same.
    encoded: what is known of the occluded ones.
  """

  mean: Float[Array, "n i j l"]
  deviation: Float[Array, "n i j l"]
  encoded: Encoded


Encode = Callable[[Params, Batch], Sample]


@struct.dataclass
class Draws:
  """All that is random in the loss of b windows of f frames.

  Attributes:
    sample: picks the clean latents from their distribution.
    noise: what they are noised with.
    timesteps: one per window: Eq. (4) compares frames at the same T.
    keep: by window and branch, whether the guidance is not dropped.
  """

  sample: Float[Array, "b f i j l"]
  noise: Float[Array, "b f i j l"]
  timesteps: Int[Array, " b"]
  keep: Bool[Array, "b branch"]


def autoencoder_loss(model: DiffMVR, kl_weight: float) -> Loss:
  """Absolute error plus a light KL term, on the unoccluded frames."""

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    del step
    frames = batch["target"].shape[1]
    image = flatten_frames(to_float(batch["target"]))
    mean, deviation = model.moments(params, image)
    shape = (frames, *mean.shape[1:])
    noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
    latents = mean + deviation * flatten_frames(noise)
    decoded = model.decode(params, latents)
    reconstruction = jnp.mean(jnp.abs(decoded - image))
    variance = jnp.square(deviation)
    kl = 0.5 * jnp.mean(jnp.square(mean) + variance - jnp.log(variance) - 1)
    total = reconstruction + kl_weight * kl
    squared = jnp.mean(jnp.square(decoded - image))
    psnr = 10 * jnp.log10(4 / squared)  # the range is [−1, 1]
    return total, {"loss": total, "kl": kl, "psnr": psnr}

  return loss


def encode_images(model: DiffMVR) -> Encode:
  """Takes batches of images, named as in the data contract."""

  def encode(params: Params, batch: Batch) -> Sample:
    target = flatten_frames(to_float(batch["target"]))
    mean, deviation = model.moments(params, target)
    inputs = {name: batch[name] for name in Observation.__annotations__}
    return Sample(
      mean=mean,
      deviation=deviation,
      encoded=model.observe(params, Observation(**inputs)),
    )

  return encode


def image_shapes(
  size: int, lead: tuple[int, ...]
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch of images.

  Args:
    size: of the crops.
    lead: leading axes, (window, frame).
  """
  images = {
    name: jax.ShapeDtypeStruct((*lead, size, size, channels), jnp.uint8)
    for name, channels in CHANNELS.items()
  }
  return images | dict.fromkeys(FLAGS, jax.ShapeDtypeStruct(lead, bool))


def read_encoded(model: DiffMVR) -> Encode:
  """Takes batches of `diffmvr_jax.data.latent_cache`: no encoder runs."""

  def encode(params: Params, batch: Batch) -> Sample:
    del params
    flat = {name: flatten_frames(x) for name, x in batch.items()}
    exists = {
      "symmetric": flat["symmetric_valid"],
      "past": flat["past_valid"],
      "present": jnp.ones_like(flat["past_valid"]),
    }
    branches = [b for b in model.config.unet.branches if b in exists]

    def full(name: str) -> jax.Array:
      return flat[name].astype(jnp.float32)

    def feature(name: str) -> jax.Array | None:
      return full(name) if name in flat else None

    return Sample(
      mean=full("mean"),
      deviation=full("deviation"),
      encoded=Encoded(
        mask=full("mask"),
        masked_latents=full("masked_latents"),
        features={
          b: (feature(f"{b}.clip"), feature(f"{b}.latents")) for b in branches
        },
        exists={b: exists[b] for b in branches},
      ),
    )

  return encode


def draw(
  config: Config, keys: jax.Array, shape: tuple[int, ...], dropout: float
) -> Draws:
  """All that is random of some windows.

  Args:
    config: of the run.
    keys: one per window.
    shape: of a window's latents, (f, i, j, l).
    dropout: how likely it is that a branch's guidance is left out.
  """
  branches = len(config.model.unet.branches)

  def one(key: jax.Array) -> tuple[jax.Array, ...]:
    keys = jax.random.split(key, 4)
    return (
      jax.random.normal(keys[0], shape),
      window_noise(keys[1], (1, *shape), config.diffusion.noise_share)[0],
      jax.random.randint(keys[2], (), 0, config.diffusion.steps),
      jax.random.bernoulli(keys[3], 1 - dropout, (branches,)),
    )

  sample, noise, timesteps, keep = jax.vmap(one)(keys)
  return Draws(sample=sample, noise=noise, timesteps=timesteps, keep=keep)


def loss_terms(
  model: DiffMVR, config: Config, params: Params, sample: Sample, draws: Draws
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
  """L_diff of each frame and L_motion, of `diffmvr_jax.diffusion.losses`."""
  stage, branches = config.diffusion_stage, config.model.unet.branches
  schedule = make_schedule(config.diffusion)
  frames = draws.noise.shape[1]
  noise = flatten_frames(draws.noise)
  clean = sample.mean + sample.deviation * flatten_frames(draws.sample)
  timesteps = jnp.repeat(draws.timesteps, frames)
  noisy = add_noise(schedule, clean, noise, timesteps)
  keep: dict[str, jax.Array] = dict(zip(branches, draws.keep.T, strict=True))
  conditioning = model.contextualise(params, sample.encoded, keep)
  output = model.predict(params, noisy, timesteps, conditioning)
  target = training_target(schedule, clean, noise, timesteps)
  weight = 1 + (stage.mask_weight - 1) * conditioning.mask
  denoising = denoising_loss(output, target, weight)
  if stage.min_snr_gamma is not None:
    denoising *= min_snr_weight(schedule, timesteps, stage.min_snr_gamma)
  subject = motion_subject(stage.motion.on, schedule, noisy, output, timesteps)
  reference = clean if stage.motion.relative_to == "target" else None
  motion = motion_loss(
    split_frames(subject, frames),
    None if reference is None else split_frames(reference, frames),
  )
  return denoising, motion


def diffusion_loss(model: DiffMVR, config: Config, encode: Encode) -> Loss:
  """L_diff + λ L_motion, Eq. (3)."""
  motion, dropout = config.diffusion_stage.motion, config.model.guidance.dropout

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    sample = encode(params, batch)
    windows = split_frames(sample.mean, sample.mean.shape[0] // keys.shape[0])
    draws = draw(config, keys, windows.shape[1:], dropout)
    each, consistency = loss_terms(model, config, params, sample, draws)
    denoising = jnp.mean(each)
    rise = jnp.minimum(1.0, step / max(motion.warmup_steps, 1))
    scale = rise if motion.warmup_steps else 1.0
    total = denoising + motion.weight * scale * consistency
    return total, {
      "loss": total,
      "denoising": denoising,
      "motion": consistency,
    }

  return loss
