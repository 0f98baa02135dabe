"""The forward process and what follows from it in closed form.

  y_T = √ᾱ_T y_0 + √(1 − ᾱ_T) ε                                     (a)
  q(y_{T−1} | y_T, y_0) = N(c_0 y_0 + c_T y_T, σ²)                  (b)
  v = √ᾱ_T ε − √(1 − ᾱ_T) y_0                                       (c)

(a) and (b) are equations 4 and 7 of Ho et al. 2020; (c) is from Salimans and
Ho 2022. T is the diffusion timestep; t is kept for the frame.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Shaped

from diffmvr_jax.config import DiffusionConfig

Timesteps = Int[Array, " n"] | Int[Array, ""]  # one per image, or for all


@struct.dataclass
class Schedule:
  """ᾱ of every timestep, what the network predicts, and from where it starts.

  Attributes:
    alphas_cumprod: ᾱ of every timestep.
    prediction: what the network predicts; "sample" is y_0.
    anchor: what y_0 is measured from, see `diffmvr_jax.diffusion.anchor`.
  """

  alphas_cumprod: Float[Array, " steps"]
  prediction: Literal["epsilon", "v", "sample"] = struct.field(
    pytree_node=False
  )
  anchor: Literal["none", "propagated", "fused"] = struct.field(
    pytree_node=False, default="none"
  )


def make_schedule(config: DiffusionConfig) -> Schedule:
  """LDM's "linear" schedule: β = linspace(√β0, √β1)².

  Example:
    >>> schedule = make_schedule(DiffusionConfig())
    >>> round(float(schedule.alphas_cumprod[0]), 4)
    0.9992
  """
  # Rounded where PyTorch rounds: its factors are float32, its running product
  # is accumulated in float64.
  roots = np.linspace(
    config.beta_start**0.5, config.beta_end**0.5, config.steps, dtype=np.float32
  )
  alphas_cumprod = np.cumprod(1 - roots**2, dtype=np.float64)
  return Schedule(
    jnp.asarray(alphas_cumprod, jnp.float32), config.prediction, config.anchor
  )


def alpha_bar(
  schedule: Schedule, timesteps: Int[Array, "*s"]
) -> Float[Array, "*s"]:
  """ᾱ_T; a negative timestep is clean data, ᾱ = 1."""
  values = schedule.alphas_cumprod[jnp.maximum(timesteps, 0)]
  return jnp.where(timesteps < 0, 1.0, values)


def add_noise(
  schedule: Schedule,
  clean: Float[Array, "n *s"],
  noise: Float[Array, "n *s"],
  timesteps: Timesteps,
) -> Float[Array, "n *s"]:
  """Noisy data of a timestep, formula (a)."""
  a = aligned(alpha_bar(schedule, timesteps), clean)
  return jnp.sqrt(a) * clean + jnp.sqrt(1 - a) * noise


def training_target(
  schedule: Schedule,
  clean: Float[Array, "n *s"],
  noise: Float[Array, "n *s"],
  timesteps: Timesteps,
) -> Float[Array, "n *s"]:
  """What the network should output: ε, v of formula (c), or y_0."""
  if schedule.prediction == "epsilon":
    return noise
  if schedule.prediction == "sample":
    return clean
  a = aligned(alpha_bar(schedule, timesteps), clean)
  return jnp.sqrt(a) * noise - jnp.sqrt(1 - a) * clean


def predict_clean(
  schedule: Schedule,
  noisy: Float[Array, "n *s"],
  output: Float[Array, "n *s"],
  timesteps: Timesteps,
) -> Float[Array, "n *s"]:
  """The y_0 that a network output implies, by formulas (a) and (c)."""
  if schedule.prediction == "sample":
    return output
  a = aligned(alpha_bar(schedule, timesteps), noisy)
  if schedule.prediction == "epsilon":
    return (noisy - jnp.sqrt(1 - a) * output) / jnp.sqrt(a)
  return jnp.sqrt(a) * noisy - jnp.sqrt(1 - a) * output


def implied_noise(
  schedule: Schedule,
  noisy: Float[Array, "n *s"],
  clean: Float[Array, "n *s"],
  timesteps: Timesteps,
) -> Float[Array, "n *s"]:
  """The ε that leads from `clean` to `noisy`, by formula (a)."""
  a = aligned(alpha_bar(schedule, timesteps), noisy)
  return (noisy - jnp.sqrt(a) * clean) / jnp.sqrt(1 - a)


def posterior(
  schedule: Schedule,
  noisy: Float[Array, "n *s"],
  clean: Float[Array, "n *s"],
  timesteps: Timesteps,
  previous: Timesteps,
) -> tuple[Float[Array, "n *s"], Float[Array, "..."]]:
  """Mean and variance of formula (b), for any earlier timestep `previous`."""
  a, b = alpha_bar(schedule, timesteps), alpha_bar(schedule, previous)
  ratio = a / b  # α of the step; 1 − α is its β
  clean_weight = jnp.sqrt(b) * (1 - ratio) / (1 - a)
  noisy_weight = jnp.sqrt(ratio) * (1 - b) / (1 - a)
  mean = aligned(clean_weight, clean) * clean
  mean += aligned(noisy_weight, noisy) * noisy
  return mean, (1 - b) / (1 - a) * (1 - ratio)


def aligned(values: Shaped[Array, "..."], like: jax.Array) -> jax.Array:
  """One value per image, with axes of length 1 for the others of `like`."""
  return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))
