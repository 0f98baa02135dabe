"""What merely moved is found again, and what covers it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.config import OccluderConfig
from diffmvr_jax.models.local_search import found_again
from diffmvr_jax.models.occluder import Occluder

SIZE, REACH = 64, 2
INNER = np.s_[0, 8:-8, 8:-8]  # where no square reaches the border


@pytest.fixture(scope="module")
def texture() -> jax.Array:
  return jax.random.uniform(
    jax.random.key(1), (1, SIZE, SIZE, 3), minval=-1, maxval=1
  )


@pytest.fixture(scope="module")
def search():
  return jax.jit(found_again, static_argnums=2)


def test_what_has_moved_is_found_where_it_came_from(search, texture):
  moved = jnp.roll(texture, (2, -4), (1, 2))  # down by 1 place, left by 2
  found = np.asarray(search(moved, texture, REACH))[INNER]
  for part in (found[..., :6], found[..., 6:]):
    differs, colours, away = np.split(part, [1, 4], axis=-1)
    assert differs.max() < 0.01
    assert np.abs(colours).max() < 1e-6
    np.testing.assert_allclose(away - [-0.5, 1.0], 0, atol=1e-6)


def test_what_covers_a_face_is_nowhere_in_the_free_picture(search, texture):
  covered = jnp.roll(texture, 2, 1).at[:, 24:40, 24:40].set(0.9)
  found = np.asarray(search(covered, texture, REACH))[0, ..., ::6]
  inside, outside = found[14:18, 14:18], found[6:8, 8:-8]
  assert inside.min() > 0.3
  assert outside.max() < 0.01


def test_it_is_not_misled_by_what_lies_beyond_its_reach(search, texture):
  moved = jnp.roll(texture, 2 * REACH + 2, 1)
  found = np.asarray(search(moved, texture, REACH))[INNER]
  assert found[..., 6].min() > 0.1


def test_without_a_free_crop_nothing_of_it_is_looked_at(texture):
  network = Occluder(OccluderConfig(channels=(8, 8), blocks=(1, 1)))
  other = 1 - texture
  params = jax.jit(network.init)(
    jax.random.key(0), texture, other, jnp.array([True])
  )
  see = jax.jit(network.apply)
  alone, alone_too, beside = (
    np.asarray(see(params, texture, free, jnp.array([valid])))
    for free, valid in ((texture, False), (other, False), (other, True))
  )
  np.testing.assert_array_equal(alone, alone_too)
  assert np.abs(beside - alone).max() > 1e-3
