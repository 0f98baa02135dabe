import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.config import DiffusionConfig
from diffmvr_jax.diffusion.losses import (
  denoising_loss,
  min_snr_weight,
  motion_loss,
  motion_subject,
)
from diffmvr_jax.diffusion.schedule import make_schedule

SCHEDULE = make_schedule(DiffusionConfig())
FRAMES = 4


def motion_gradient(on):
  """Gradient of L_motion with respect to a parameter of the network."""
  noisy = jax.random.normal(jax.random.key(0), (2 * FRAMES, 3, 3, 2))
  timesteps = jnp.repeat(jnp.array([300, 700]), FRAMES)

  def loss(theta):
    output = theta * jnp.tanh(noisy)
    subject = motion_subject(on, SCHEDULE, noisy, output, timesteps)
    return motion_loss(subject.reshape(2, FRAMES, 3, 3, 2))

  return float(jax.grad(loss)(0.5)), float(loss(0.5))


def test_the_printed_motion_loss_has_no_gradient():
  gradient, value = motion_gradient("noisy")
  assert gradient == 0
  assert value > 0


@pytest.mark.parametrize("on", ["x0", "posterior"])
def test_the_other_motion_losses_have_one(on):
  gradient, value = motion_gradient(on)
  assert gradient != 0
  assert value > 0


def test_motion_loss_is_equation_4():
  y = np.random.default_rng(0).normal(size=(2, FRAMES, 5, 3))
  total = 0.0
  for window in y:
    for t in range(FRAMES - 1):
      total += np.mean((window[t + 1] - window[t]) ** 2)
  expected = 2 / FRAMES * total / len(y)
  actual = motion_loss(jnp.asarray(y, jnp.float32))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_true_motion_costs_nothing_relative_to_the_target():
  y = jax.random.normal(jax.random.key(0), (2, FRAMES, 5, 3))
  assert motion_loss(y + 0.3, y) < 1e-12
  assert motion_loss(y) > 0


def test_a_window_of_one_frame_has_no_motion():
  assert motion_loss(jnp.ones((2, 1, 3))) == 0


def test_denoising_loss_is_the_mean_of_each_frame():
  output = jnp.zeros((2, 3, 4))
  target = output.at[0, 0, 0].set(6.0)
  np.testing.assert_allclose(denoising_loss(output, target), [36 / 12, 0])


def test_weights_are_relative_within_a_frame():
  output = jnp.zeros((1, 4, 1))
  target = output.at[0, 0, 0].set(1.0)
  weight = jnp.array([[[3.0], [1.0], [1.0], [1.0]]])
  np.testing.assert_allclose(denoising_loss(output, target, weight), [0.5])


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_min_snr_weights_the_clean_latents_error_by_min_snr(prediction):
  """ε- and v-errors are multiples of the error of the clean latents."""
  schedule = make_schedule(DiffusionConfig(prediction=prediction))
  timesteps = jnp.array([5, 200, 500, 900])
  a = schedule.alphas_cumprod[timesteps]
  snr = a / (1 - a)
  # L_ε = SNR · L_x0, and L_v = (SNR + 1) · L_x0.
  multiple = snr if prediction == "epsilon" else snr + 1
  weight = min_snr_weight(schedule, timesteps, 5.0)
  np.testing.assert_allclose(
    weight * multiple, jnp.minimum(snr, 5.0), rtol=1e-4
  )
