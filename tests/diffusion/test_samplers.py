import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.config import DiffusionConfig
from diffmvr_jax.diffusion.noise import window_noise
from diffmvr_jax.diffusion.samplers import (
  ddim,
  ddpm,
  dpmpp_2m,
  lcm,
  spaced_timesteps,
)
from diffmvr_jax.diffusion.schedule import alpha_bar, make_schedule

SCHEDULE = make_schedule(DiffusionConfig())
MEAN, DEVIATION = 1.5, 0.4


def ideal_denoiser(noisy, timestep):
  """E[y_0 | y_T] for data N(MEAN, DEVIATION²), exactly."""
  a = alpha_bar(SCHEDULE, timestep)
  gain = jnp.sqrt(a) * DEVIATION**2 / (a * DEVIATION**2 + 1 - a)
  return MEAN + gain * (noisy - jnp.sqrt(a) * MEAN)


@pytest.mark.parametrize(
  ("sampler", "eta"),
  [(ddpm, 1.0), (ddim, 0.0), (ddim, 1.0), (dpmpp_2m, 0.0), (dpmpp_2m, 1.0)],
)
def test_with_the_ideal_denoiser_samples_follow_the_data(sampler, eta):
  noise = jax.random.normal(jax.random.key(0), (20_000, 1))
  timesteps = spaced_timesteps(1000, 250)
  draw = jax.jit(
    lambda x, k: sampler(ideal_denoiser, x, k, SCHEDULE, timesteps, eta)
  )
  samples = np.asarray(draw(noise, jax.random.key(1)))
  assert abs(samples.mean() - MEAN) < 0.03
  assert abs(samples.std() - DEVIATION) < 0.03


def test_ddim_without_noise_ignores_the_key():
  noise = jax.random.normal(jax.random.key(0), (3, 2))
  timesteps = spaced_timesteps(1000, 5)

  def draw(sampler, seed, eta):
    key = jax.random.key(seed)
    return sampler(ideal_denoiser, noise, key, SCHEDULE, timesteps, eta)

  np.testing.assert_array_equal(draw(ddim, 1, 0.0), draw(ddim, 2, 0.0))
  assert not (draw(ddpm, 1, 1.0) == draw(ddpm, 2, 1.0)).any()


def test_one_step_returns_the_prediction():
  noise = jnp.ones((1, 1))
  timesteps = spaced_timesteps(1000, 1)
  for sampler, eta in ((ddpm, 1.0), (ddim, 0.0), (dpmpp_2m, 0.0)):
    sample = sampler(
      ideal_denoiser, noise, jax.random.key(0), SCHEDULE, timesteps, eta
    )
    expected = ideal_denoiser(noise, timesteps[0])
    np.testing.assert_allclose(sample, expected, rtol=1e-5)


def test_predicting_zero_ends_at_zero():
  """An untrained model that has an anchor gives the anchor."""
  noise = jax.random.normal(jax.random.key(0), (3, 2))
  timesteps = spaced_timesteps(1000, 4)
  for sampler in (ddpm, ddim, dpmpp_2m, lcm):
    sample = sampler(
      lambda x, t: jnp.zeros_like(x),
      noise,
      jax.random.key(1),
      SCHEDULE,
      timesteps,
    )
    np.testing.assert_allclose(sample, 0, atol=1e-6)


def test_timesteps_start_at_the_last_and_descend():
  timesteps = np.asarray(spaced_timesteps(1000, 7))
  assert timesteps[0] == 999
  assert (np.diff(timesteps) < 0).all()
  assert timesteps[-1] >= 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_window_noise_is_unit_and_shared_as_asked(share):
  noise = np.asarray(window_noise(jax.random.key(0), (2, 2, 100_000), share))
  np.testing.assert_allclose(noise.std(), 1, atol=0.01)
  correlation = np.mean(noise[:, 0] * noise[:, 1])
  np.testing.assert_allclose(correlation, share, atol=0.01)
  assert abs(np.mean(noise[0] * noise[1])) < 0.01
