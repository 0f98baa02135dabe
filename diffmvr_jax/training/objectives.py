"""What the first and last stage minimise, of parameters and a batch.

Each window of the global batch has a key of its own, so it gets the same noise
on any mesh and with any accumulation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from diffmvr_jax.config import Config
from diffmvr_jax.data.prior_windows import own_part, prior_part
from diffmvr_jax.diffusion.anchor import to_latents, to_residual
from diffmvr_jax.diffusion.losses import (
  denoising_loss,
  min_snr_weight,
  motion_loss,
  motion_subject,
)
from diffmvr_jax.diffusion.noise import window_noise
from diffmvr_jax.diffusion.schedule import (
  add_noise,
  make_schedule,
  training_target,
)
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames, split_frames, to_float
from diffmvr_jax.training.inputs import Batch, Encode, Sample

Metrics = dict[str, Float[Array, ""]]
# Takes parameters, a batch, one key per window, and the updates applied so far.
Loss = Callable[
  [Params, Batch, jax.Array, jax.Array], tuple[jax.Array, Metrics]
]


@struct.dataclass
class Draws:
  """All that is random in the loss of a batch.

  Attributes:
    sample: noise that picks the clean latents from their distribution.
    noise: noise that is added to the clean latents.
    timesteps: one per window, because Eq. (4) compares frames at the same T.
    keep: whether a branch's guidance images are not dropped.
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


def draw(
  config: Config, keys: jax.Array, shape: tuple[int, ...], dropout: float
) -> Draws:
  """Draws all that is random for some windows.

  Args:
    config: configuration of the run.
    keys: one key per window.
    shape: shape of a window's latents, (frame, row, column, channel).
    dropout: probability that a branch's guidance images are dropped.
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


def window_draws(
  config: Config, keys: jax.Array, sample: Sample, dropout: float = 0.0
) -> Draws:
  """What `draw` gives for the windows of a sample, one key per window."""
  frames = sample.mean.shape[0] // keys.shape[0]
  latents = split_frames(sample.mean, frames)
  return draw(config, keys, latents.shape[1:], dropout)


def clean_latents(
  config: Config, params: Params, sample: Sample, draws: Draws
) -> Float[Array, "n i j l"]:
  """Latents of the unoccluded frames, drawn from their distribution.

  With an anchor they are what it lacks, r of `diffmvr_jax.diffusion.anchor`.
  With `diffusion.variable=masked` they are those of the masked frames, x_t of
  the paper's section 3.2.
  """
  if config.diffusion.variable == "masked":
    return sample.encoded.masked_latents
  latents = sample.mean + sample.deviation * flatten_frames(draws.sample)
  anchor = sample.encoded.anchor
  if anchor is None:
    return latents
  return to_residual(latents, anchor.latents, params["residual_scale"])


def latent_weight(
  config: Config, mask: Float[Array, "n i j 1"]
) -> Float[Array, "n i j 1"]:
  """Weight of each latent in L_diff: `mask_weight` where occluded, else 1."""
  return 1 + (config.diffusion_stage.mask_weight - 1) * mask


def loss_terms(
  model: DiffMVR,
  config: Config,
  params: Params,
  sample: Sample,
  draws: Draws,
  prompt: str = "prompt",
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
  """L_diff of each frame and L_motion, of `diffmvr_jax.diffusion.losses`.

  A text branch is told the prompt of that name in `PROMPTS`.
  """
  stage, branches = config.diffusion_stage, config.model.unet.branches
  schedule = make_schedule(config.diffusion)
  frames = draws.noise.shape[1]
  noise = flatten_frames(draws.noise)
  clean = clean_latents(config, params, sample, draws)
  timesteps = jnp.repeat(draws.timesteps, frames)
  noisy = add_noise(schedule, clean, noise, timesteps)
  keep: dict[str, jax.Array] = dict(zip(branches, draws.keep.T, strict=True))
  conditioning = model.contextualise(params, sample.encoded, keep, prompt)
  output = model.predict(params, noisy, timesteps, conditioning)
  target = training_target(schedule, clean, noise, timesteps)
  weight = latent_weight(config, conditioning.mask)
  denoising = denoising_loss(output, target, weight)
  if stage.min_snr_gamma is not None:
    denoising *= min_snr_weight(schedule, timesteps, stage.min_snr_gamma)
  subject = motion_subject(stage.motion.on, schedule, noisy, output, timesteps)
  reference = clean if stage.motion.relative_to == "target" else None

  def compared(latents: jax.Array) -> jax.Array:
    """A window's latents: frames have different anchors, so not residuals."""
    anchor = sample.encoded.anchor
    if anchor is not None:
      latents = to_latents(latents, anchor.latents, params["residual_scale"])
    return split_frames(latents, frames)

  motion = motion_loss(
    compared(subject), None if reference is None else compared(reference)
  )
  return denoising, motion


def diffusion_loss(model: DiffMVR, config: Config, encode: Encode) -> Loss:
  """L_diff + λ L_motion, Eq. (3), and the loss of prior preservation."""
  motion, dropout = config.diffusion_stage.motion, config.model.guidance.dropout

  def warmed_up(step: jax.Array) -> jax.Array | float:
    """Share of λ that counts after so many updates."""
    if not motion.warmup_steps:
      return 1.0
    return jnp.minimum(1.0, step / motion.warmup_steps)

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    sample = encode(params, own_part(batch))
    draws = window_draws(config, keys, sample, dropout)
    of_frames, of_motion = loss_terms(model, config, params, sample, draws)
    denoising = jnp.mean(of_frames)
    total = denoising + motion.weight * warmed_up(step) * of_motion
    metrics = {"denoising": denoising, "motion": of_motion}
    prior = config.diffusion_stage.prior
    if prior is not None:
      sample = encode(params, prior_part(batch))
      keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
      draws = window_draws(config, keys, sample, dropout)
      of_class, _ = loss_terms(model, config, params, sample, draws, "class")
      metrics["prior"] = jnp.mean(of_class)
      total += prior.weight * metrics["prior"]
    return total, {"loss": total, **metrics}

  return loss
