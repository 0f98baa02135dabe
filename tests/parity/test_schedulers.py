"""Every x along the way, not only the end: diffusers against our scans."""

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from diffmvr_jax.config import DiffusionConfig
from diffmvr_jax.diffusion import samplers
from diffmvr_jax.diffusion.schedule import make_schedule, predict_clean

SHAPE = (2, 8, 8, 4)
# diffusers hands PyTorch tensors to NumPy in a way that NumPy 2 frowns upon.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")


def network(x, timestep) -> np.ndarray:
  """Any nonlinear function; NumPy, so that both sides get the same numbers."""
  x = np.asarray(x, np.float64)
  return np.tanh(x + np.roll(x, 1, -1) + int(timestep) / 500).astype(np.float32)


def our_trajectory(sampler, config, timesteps, eta):
  seen = []
  schedule = make_schedule(config)

  def denoise(x, timestep):
    seen.append(np.asarray(x))
    output = jnp.asarray(network(x, timestep))
    return predict_clean(schedule, x, output, timestep)

  start = jax.random.normal(jax.random.key(1), SHAPE)
  key = jax.random.key(2)
  with jax.disable_jit():  # so that the scan is a loop over concrete arrays
    seen.append(
      np.asarray(sampler(denoise, start, key, schedule, timesteps, eta))
    )
  noise = [
    np.asarray(jax.random.normal(k, SHAPE))
    for k in jax.random.split(key, len(timesteps))
  ]
  return seen, noise


def their_trajectory(scheduler, start, noise, monkeypatch, **step_options):
  draws = iter(noise)
  module = type(scheduler).__module__
  monkeypatch.setattr(
    f"{module}.randn_tensor",
    lambda *args, **kwargs: torch.from_numpy(next(draws).copy()),
  )
  x, seen = torch.from_numpy(start.copy()), []
  for timestep in scheduler.timesteps:
    seen.append(x.numpy())
    output = torch.from_numpy(network(x, timestep))
    x = scheduler.step(output, timestep, x, **step_options).prev_sample
  return [*seen, x.numpy()]


def common(config):
  return {
    "beta_start": config.beta_start,
    "beta_end": config.beta_end,
    "beta_schedule": "scaled_linear",
    "prediction_type": {"epsilon": "epsilon", "v": "v_prediction"}[
      config.prediction
    ],
  }


def ddpm(config):
  return diffusers.DDPMScheduler(
    **common(config), clip_sample=False, timestep_spacing="trailing"
  )


def ddim(config):
  return diffusers.DDIMScheduler(
    **common(config), clip_sample=False, timestep_spacing="trailing"
  )


def dpmpp(config, algorithm="dpmsolver++"):
  return diffusers.DPMSolverMultistepScheduler(
    **common(config),
    timestep_spacing="trailing",
    algorithm_type=algorithm,
  )


def dpmpp_sde(config):
  return dpmpp(config, "sde-dpmsolver++")


def lcm(config):
  return diffusers.LCMScheduler(**common(config))


CASES = {
  "DDPM, every step": (samplers.ddpm, ddpm, 1000, 1.0),
  "DDPM, 20 steps": (samplers.ddpm, ddpm, 20, 1.0),
  "DDIM, 50 steps": (samplers.ddim, ddim, 50, 0.0),
  "DDIM, η = 0.5, 20 steps": (samplers.ddim, ddim, 20, 0.5),
  "DPM-Solver++(2M), 20 steps": (samplers.dpmpp_2m, dpmpp, 20, 0.0),
  "SDE-DPM-Solver++(2M), 20 steps": (samplers.dpmpp_2m, dpmpp_sde, 20, 1.0),
  "LCM, 4 steps": (samplers.lcm, lcm, 4, 1.0),
}


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("name", CASES)
def test_trajectory_equals_diffusers(
  name, prediction, full, monkeypatch, compare
):
  sampler, build, steps, eta = CASES[name]
  if not full:
    steps = min(steps, 50)
  config = DiffusionConfig(
    beta_start=0.00085, beta_end=0.012, prediction=prediction
  )
  scheduler = build(config)
  scheduler.set_timesteps(steps)
  is_lcm = sampler is samplers.lcm
  spacing = samplers.lcm_timesteps if is_lcm else samplers.spaced_timesteps
  timesteps = spacing(1000, steps)
  np.testing.assert_array_equal(timesteps, scheduler.timesteps.numpy())
  ours, noise = our_trajectory(sampler, config, timesteps, eta)
  options = {}
  if sampler is samplers.ddim and eta:
    options = {"eta": eta}
  theirs = their_trajectory(scheduler, ours[0], noise, monkeypatch, **options)
  assert len(ours) == len(theirs) == steps + 1
  for one, other in zip(ours, theirs, strict=True):
    distance = np.linalg.norm(one - other) / np.linalg.norm(other)
    assert distance <= 1e-5
  compare(f"{name}, {prediction}, trajectory", ours, theirs, 1e-5)
