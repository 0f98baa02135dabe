import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.config import DiffusionConfig
from diffmvr_jax.diffusion.schedule import (
  add_noise,
  alpha_bar,
  make_schedule,
  posterior,
  predict_clean,
  training_target,
)

CONFIG = DiffusionConfig()


def reference_betas():
  roots = np.linspace(CONFIG.beta_start**0.5, CONFIG.beta_end**0.5, 1000)
  return roots**2


def test_schedule_is_ldm_linear():
  expected = np.cumprod(1 - reference_betas())
  actual = make_schedule(CONFIG).alphas_cumprod
  np.testing.assert_allclose(actual, expected, rtol=2e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_a_perfect_output_gives_back_the_clean_latents(prediction):
  schedule = make_schedule(dataclasses.replace(CONFIG, prediction=prediction))
  keys = jax.random.split(jax.random.key(0), 2)
  clean, noise = (jax.random.normal(key, (4, 3, 3, 2)) for key in keys)
  timesteps = jnp.array([0, 10, 500, 999])
  noisy = add_noise(schedule, clean, noise, timesteps)
  output = training_target(schedule, clean, noise, timesteps)
  recovered = predict_clean(schedule, noisy, output, timesteps)
  np.testing.assert_allclose(recovered, clean, atol=2e-5)


@pytest.mark.parametrize("step", [1, 400, 999])
def test_posterior_is_ddpm_equation_7(step):
  schedule = make_schedule(CONFIG)
  betas = reference_betas()
  bars = np.cumprod(1 - betas)
  clean, noisy = jnp.array([[0.7]]), jnp.array([[-0.4]])
  mean, variance = posterior(
    schedule, noisy, clean, jnp.array([step]), jnp.array([step - 1])
  )
  beta, bar, before = betas[step], bars[step], bars[step - 1]
  expected = np.sqrt(before) * beta / (1 - bar) * 0.7
  expected += np.sqrt(1 - beta) * (1 - before) / (1 - bar) * -0.4
  np.testing.assert_allclose(mean[0, 0], expected, rtol=2e-3)
  expected = (1 - before) / (1 - bar) * beta
  np.testing.assert_allclose(variance[0], expected, rtol=2e-3)


def test_before_the_first_timestep_data_is_clean():
  assert alpha_bar(make_schedule(CONFIG), jnp.array(-1)) == 1
