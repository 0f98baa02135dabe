"""Unit noise for windows of frames, some of it common to several frames."""

import jax
from jaxtyping import Array, Float, Int


def frame_noise(
  key: jax.Array, frame_index: Int[Array, " n"], share: float, like: jax.Array
) -> Float[Array, "n *s"]:
  """Unit noise that follows from a frame's number, not from its neighbours.

  So a frame is restored the same way, whatever window it is in.

  Args:
    key: random key.
    frame_index: number of each frame in its video.
    share: share of the variance that all frames of all videos have in common.
    like: latents whose shape the noise gets.
  """
  common_key, own_key = jax.random.split(key)

  def own(index: jax.Array) -> jax.Array:
    shape = like.shape[1:]
    return jax.random.normal(jax.random.fold_in(own_key, index), shape)

  common = jax.random.normal(common_key, like.shape[1:])
  return _mixed(common, jax.vmap(own)(frame_index), share)


def window_noise(
  key: jax.Array, shape: tuple[int, ...], share: float
) -> Float[Array, "b f *s"]:
  """Unit noise of which `share` of the variance is common to a window.

  Args:
    key: random key.
    shape: shape of the noise, (batch, frame, …).
    share: 0 for independent frames, 1 for the same noise in every frame.
  """
  common_key, own_key = jax.random.split(key)
  common = jax.random.normal(common_key, (shape[0], 1, *shape[2:]))
  own = jax.random.normal(own_key, shape)
  return _mixed(common, own, share)


def _mixed(common: jax.Array, own: jax.Array, share: float) -> jax.Array:
  return share**0.5 * common + (1 - share) ** 0.5 * own
