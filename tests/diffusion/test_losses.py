import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.config import DiffusionConfig
from diffmvr_jax.diffusion.losses import (
  denoising_loss,
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


def test_denoising_loss_is_the_mean_over_everything():
  output = jnp.zeros((2, 3, 4))
  target = output.at[0, 0, 0].set(6.0)
  np.testing.assert_allclose(denoising_loss(output, target), 36 / 24)
