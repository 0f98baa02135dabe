"""What the occluder stage minimises."""

import jax.numpy as jnp

from diffmvr_jax.training.occluder_loss import dice_loss

SIZE = 64


def test_something_found_in_a_free_frame_costs():
  free = jnp.zeros((2, SIZE, SIZE, 1))
  found = free.at[1, :20, :20].set(1)
  nothing, something = dice_loss(found, free).tolist()
  assert nothing == 0 and something > 0.9
