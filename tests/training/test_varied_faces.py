"""The faces that the occluder stage draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.training.varied_faces import Faces, occluder_alone, varied

SIZE, COUNT = 64, 32


def grey(level: float) -> jax.Array:
  return jnp.full((COUNT, SIZE, SIZE, 3), level)


@pytest.fixture(scope="module")
def covered() -> Faces:
  """Grey faces that a lighter grey covers wholly."""
  return Faces(
    crop=grey(0.4),
    truth=grey(-0.2),
    mask=jnp.ones((COUNT, SIZE, SIZE, 1)),
    free=grey(-0.2),
    free_valid=jnp.ones(COUNT, bool),
  )


@pytest.fixture(scope="module")
def drawn(covered) -> Faces:
  return jax.jit(varied)(jax.random.split(jax.random.key(0), COUNT), covered)


def test_half_of_the_faces_are_under_the_occluder_of_another(drawn):
  whole = np.asarray(drawn.mask.mean((1, 2, 3)))
  moved = whole < 1  # a whole mask that has moved leaves a border free
  assert 0.25 < moved.mean() < 0.75
  assert whole[moved].min() > 0.2


def test_what_covers_a_face_stays_on_top_of_what_else_changes(drawn):
  """Mouths and parts of other people are drawn under it."""
  own = np.asarray(drawn.mask.mean((1, 2, 3))) == 1
  spread = np.asarray(drawn.crop)[own].std((1, 2))
  assert spread.max() < 0.04  # noise of the camera


def test_free_crops_change_while_nothing_covers_them(drawn):
  free = np.asarray(drawn.free)
  assert np.abs(free).max() <= 1
  assert (free.std((1, 2)).max(-1) > 0.05).mean() > 0.05  # mouths
  assert free.mean((1, 2, 3)).std() > 0.02  # light


def test_a_seed_gives_the_same_frames(covered, drawn):
  again = jax.jit(varied)(jax.random.split(jax.random.key(0), COUNT), covered)
  np.testing.assert_array_equal(again.crop, drawn.crop)
  other = jax.jit(varied)(jax.random.split(jax.random.key(1), COUNT), covered)
  assert (np.asarray(other.crop) != np.asarray(drawn.crop)).any()


def test_the_rim_of_a_mask_is_not_pasted():
  """It shows the face that was under it."""
  truth = jnp.zeros((80, 80, 3))
  crop = truth.at[20:60, 20:60].set(0.5)
  mask = jnp.zeros((80, 80, 1)).at[18:62, 18:62].set(1)
  share = np.asarray(occluder_alone(crop, truth, mask)[..., 0])
  assert share[22:58, 22:58].min() == 1
  assert share[:19].max() == 0 and share[:, 61:].max() == 0
  # The occluder and the skin have one colour.
  assert occluder_alone(truth, truth, mask)[25:55, 25:55].min() == 1


def test_surroundings_move_and_faces_stay(covered):
  """The middle of a free crop is its own, whatever is around it."""
  stripes = jnp.broadcast_to(
    jnp.sign(jnp.sin(jnp.arange(SIZE) / 4.0))[:, None] * 0.8,
    (COUNT, SIZE, SIZE, 3),
  )
  faces = covered.replace(truth=grey(0.0), free=stripes)
  free = np.asarray(
    jax.jit(varied)(jax.random.split(jax.random.key(2), COUNT), faces).free
  )
  still = np.asarray(stripes)
  middle = (slice(None), slice(28, 36), slice(28, 36))
  around = (slice(None), slice(0, SIZE), slice(0, 4))

  def changed(where) -> np.ndarray:
    apart = np.abs(free[where] - still[where]).mean((1, 2, 3))
    return (apart > 0.5).mean()

  assert changed(around) > changed(middle) + 0.1


def test_a_smeared_occluder_is_half_transparent():
  """And its mask covers what is seen of it."""
  square = jnp.zeros((COUNT, SIZE, SIZE, 1)).at[:, 24:40, 24:40].set(1)
  faces = Faces(
    crop=grey(-0.2) + square,
    truth=grey(-0.2),
    mask=square,
    free=grey(-0.2),
    free_valid=jnp.ones(COUNT, bool),
  )
  seen = jax.jit(varied)(jax.random.split(jax.random.key(3), COUNT), faces)
  free_of_it = np.asarray(seen.mask[..., 0]) == 0
  rise = np.asarray(seen.crop).max(-1) - np.asarray(seen.truth).max(-1)
  covered = ~free_of_it
  assert covered.mean((1, 2)).max() > 2 * float(square.mean())
  partly = covered & (rise > 0.2) & (rise < 0.5)
  assert (partly.sum((1, 2)) > 40).mean() > 0.1
