"""Samplers: pure functions of one signature, each a `lax.scan` over steps.

  sampler(denoise, noisy, key, schedule, timesteps, eta) -> clean latents

`denoise(noisy, timestep)` returns the predicted clean latents; the noise that
it implies follows from Eq. (1) of the schedule.
"""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffmvr_jax.diffusion.schedule import Schedule, alpha_bar, posterior

Denoise = Callable[[jax.Array, jax.Array], jax.Array]


class Sampler(Protocol):
  """What `ddpm` and `ddim` have in common."""

  def __call__(
    self,
    denoise: Denoise,
    noisy: Float[Array, "n *s"],
    key: jax.Array,
    schedule: Schedule,
    timesteps: Int[Array, " k"],
    eta: float,
  ) -> Float[Array, "n *s"]:
    """Draws clean latents from `noisy`, which is at `timesteps[0]`."""
    ...


def spaced_timesteps(total: int, steps: int) -> Int[Array, " steps"]:
  """`steps` timesteps, descending, evenly spaced, starting at total − 1.

  Diffusers calls this spacing "trailing".

  Example:
    >>> spaced_timesteps(1000, 4)
    Array([999, 749, 499, 249], dtype=int32)
  """
  return jnp.round(jnp.linspace(total, 0, steps + 1))[:-1].astype(int) - 1


def ddpm(
  denoise: Denoise,
  noisy: Float[Array, "n *s"],
  key: jax.Array,
  schedule: Schedule,
  timesteps: Int[Array, " k"],
  eta: float = 1.0,
) -> Float[Array, "n *s"]:
  """Ancestral sampling, Eq. (2): the posterior at the predicted y_0.

  `eta` scales the noise that is added at every step but the last.
  """

  def step(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    timestep, previous, step_key = inputs
    clean = denoise(x, timestep)
    mean, variance = posterior(schedule, x, clean, timestep, previous)
    noise = jax.random.normal(step_key, x.shape, x.dtype)
    return mean + eta * jnp.sqrt(variance) * noise, None

  return _scan(step, noisy, key, timesteps)


def ddim(
  denoise: Denoise,
  noisy: Float[Array, "n *s"],
  key: jax.Array,
  schedule: Schedule,
  timesteps: Int[Array, " k"],
  eta: float = 0.0,
) -> Float[Array, "n *s"]:
  """Song et al. 2021, Eq. (12); deterministic at `eta` 0, DDPM's σ at 1."""

  def step(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    timestep, previous, step_key = inputs
    a, b = alpha_bar(schedule, timestep), alpha_bar(schedule, previous)
    clean = denoise(x, timestep)
    epsilon = (x - jnp.sqrt(a) * clean) / jnp.sqrt(1 - a)
    variance = eta**2 * (1 - b) / (1 - a) * (1 - a / b)
    noise = jax.random.normal(step_key, x.shape, x.dtype)
    x = jnp.sqrt(b) * clean + jnp.sqrt(1 - b - variance) * epsilon
    return x + jnp.sqrt(variance) * noise, None

  return _scan(step, noisy, key, timesteps)


def _scan(
  step: Callable, noisy: jax.Array, key: jax.Array, timesteps: jax.Array
) -> jax.Array:
  previous = jnp.append(timesteps[1:], -1)
  keys = jax.random.split(key, timesteps.shape[0])
  return jax.lax.scan(step, noisy, (timesteps, previous, keys))[0]


def window_noise(
  key: jax.Array, shape: tuple[int, ...], share: float
) -> Float[Array, "b f *s"]:
  """Unit noise of which `share` of the variance is common to a window.

  Args:
    key: random key.
    shape: (batch, frame, …).
    share: 0, independent frames; 1, the same noise in every frame.
  """
  common_key, own_key = jax.random.split(key)
  common = jax.random.normal(common_key, (shape[0], 1, *shape[2:]))
  own = jax.random.normal(own_key, shape)
  return share**0.5 * common + (1 - share) ** 0.5 * own
