"""Samplers: pure functions of one signature, each a `lax.scan` over steps.

  sampler(denoise, noisy, key, schedule, timesteps, eta, draw) -> clean latents

`denoise(noisy, timestep)` returns the predicted clean latents; the noise that
it implies follows from formula (a) of `schedule`. `eta` scales the noise that
is added along the way, which `draw(key, latents)` makes. Step for step these
are diffusers' schedulers with "trailing" timesteps and a last step that ends
on clean data.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffmvr_jax.diffusion.schedule import (
  Schedule,
  alpha_bar,
  implied_noise,
  posterior,
)

Denoise = Callable[[jax.Array, jax.Array], jax.Array]
Draw = Callable[[jax.Array, jax.Array], jax.Array]


def independent(key: jax.Array, like: jax.Array) -> jax.Array:
  """Unit noise of its own for every latent."""
  return jax.random.normal(key, like.shape, like.dtype)


class Sampler(Protocol):
  """What the samplers have in common; each has its own default of `eta`."""

  def __call__(
    self,
    denoise: Denoise,
    noisy: Float[Array, "n *s"],
    key: jax.Array,
    schedule: Schedule,
    timesteps: Int[Array, " steps"],
    eta: float = ...,
    draw: Draw = ...,
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
  timesteps: Int[Array, " steps"],
  eta: float = 1.0,
  draw: Draw = independent,
) -> Float[Array, "n *s"]:
  """Ancestral sampling, Eq. (2): the posterior at the predicted y_0.

  `eta` scales the noise that is added at every step but the last.
  """

  def step(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    timestep, previous, step_key = inputs
    clean = denoise(x, timestep)
    mean, variance = posterior(schedule, x, clean, timestep, previous)
    noise = draw(step_key, x)
    return mean + eta * jnp.sqrt(variance) * noise, None

  return _scan(step, noisy, key, timesteps)


def ddim(
  denoise: Denoise,
  noisy: Float[Array, "n *s"],
  key: jax.Array,
  schedule: Schedule,
  timesteps: Int[Array, " steps"],
  eta: float = 0.0,
  draw: Draw = independent,
) -> Float[Array, "n *s"]:
  """Equation 12 of Song et al. 2021; `eta` 0 adds no noise, 1 DDPM's."""

  def step(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    timestep, previous, step_key = inputs
    a, b = alpha_bar(schedule, timestep), alpha_bar(schedule, previous)
    clean = denoise(x, timestep)
    epsilon = implied_noise(schedule, x, clean, timestep)
    variance = eta**2 * (1 - b) / (1 - a) * (1 - a / b)
    noise = draw(step_key, x)
    x = jnp.sqrt(b) * clean + jnp.sqrt(1 - b - variance) * epsilon
    return x + jnp.sqrt(variance) * noise, None

  return _scan(step, noisy, key, timesteps)


def dpmpp_2m(
  denoise: Denoise,
  noisy: Float[Array, "n *s"],
  key: jax.Array,
  schedule: Schedule,
  timesteps: Int[Array, " steps"],
  eta: float = 0.0,
  draw: Draw = independent,
) -> Float[Array, "n *s"]:
  """DPM-Solver++(2M), Lu et al. 2022, Algorithm 2; SDE-DPM-Solver++ at `eta` 1.

  With λ = log(α/σ), h its step and r the last step by this one:

    D = y_0 + (y_0 − y_0') / 2r
    x ← σ_t/σ_s e^(−ηh) x + α_t (1 − e^(−h−ηh)) D + σ_t √(1 − e^(−2ηh)) ε
  """

  def log_snr(alpha: jax.Array) -> jax.Array:
    return 0.5 * (jnp.log(alpha) - jnp.log1p(-alpha))

  def step(carry: tuple, inputs: tuple) -> tuple[tuple, None]:
    x, last_clean, last_h = carry
    timestep, previous, step_key = inputs
    a, b = alpha_bar(schedule, timestep), alpha_bar(schedule, previous)
    clean = denoise(x, timestep)
    is_last = previous < 0  # where λ is infinite and the solution is y_0
    b = jnp.where(is_last, a, b)
    h = log_snr(b) - log_snr(a)
    # The first step has no step before it, and is of first order.
    inverse_2r = jnp.where(last_h > 0, h / jnp.maximum(2 * last_h, 1e-12), 0.0)
    direction = clean + inverse_2r * (clean - last_clean)
    noise = draw(step_key, x)
    x = (
      jnp.sqrt((1 - b) / (1 - a)) * jnp.exp(-eta * h) * x
      - jnp.sqrt(b) * jnp.expm1(-(1 + eta) * h) * direction
      + jnp.sqrt(1 - b) * jnp.sqrt(-jnp.expm1(-2 * eta * h)) * noise
    )
    return (jnp.where(is_last, clean, x), clean, h), None

  start = (noisy, jnp.zeros_like(noisy), jnp.float32(0))
  return _scan(step, start, key, timesteps)[0]


def lcm(
  denoise: Denoise,
  noisy: Float[Array, "n *s"],
  key: jax.Array,
  schedule: Schedule,
  timesteps: Int[Array, " steps"],
  eta: float = 1.0,
  draw: Draw = independent,
) -> Float[Array, "n *s"]:
  """Multistep consistency sampling, Luo et al. 2023 (LCM), Algorithm 1.

  The consistency function is c_skip x + c_out y_0 with the boundary condition
  of `consistency_weights`; between steps its result is noised afresh.
  """

  def step(x: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    timestep, previous, step_key = inputs
    b = alpha_bar(schedule, previous)
    skip, out = consistency_weights(timestep)
    clean = out * denoise(x, timestep) + skip * x
    noise = draw(step_key, x)
    return jnp.sqrt(b) * clean + eta * jnp.sqrt(1 - b) * noise, None

  return _scan(step, noisy, key, timesteps)


def consistency_weights(
  timestep: Int[Array, "*s"],
) -> tuple[Float[Array, "*s"], Float[Array, "*s"]]:
  """c_skip and c_out of LCM: σ_data 0.5, timesteps scaled by 10.

  Example:
    >>> [float(c) for c in consistency_weights(jnp.array(0))]
    [1.0, 0.0]
  """
  scaled = 10.0 * timestep
  variance = jnp.square(scaled) + 0.25
  return 0.25 / variance, scaled / jnp.sqrt(variance)


def lcm_timesteps(
  total: int, steps: int, grid: int = 50
) -> Int[Array, " steps"]:
  """`steps` of the `grid` timesteps that an LCM was distilled on, descending.

  Example:
    >>> lcm_timesteps(1000, 4)
    Array([999, 759, 499, 259], dtype=int32)
  """
  origin = (jnp.arange(grid, 0, -1) * (total // grid)) - 1
  return origin[jnp.arange(steps) * grid // steps].astype(int)


def _scan(
  step: Callable, start: Any, key: jax.Array, timesteps: jax.Array
) -> Any:
  """Takes a step from each timestep to the next, and from the last to −1."""
  previous = jnp.append(timesteps[1:], -1)
  keys = jax.random.split(key, timesteps.shape[0])
  return jax.lax.scan(step, start, (timesteps, previous, keys))[0]
