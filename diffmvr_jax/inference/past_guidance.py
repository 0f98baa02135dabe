"""Guidance from past frames, computed once for each distinct past frame."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.config import ModelConfig
from diffmvr_jax.inference.sampling import PastGuidance, past_keys_values
from diffmvr_jax.models.attention import KeysValues
from diffmvr_jax.models.diffmvr import Params

# Shared by all restorers, like their program.
_keys_values = jax.jit(past_keys_values, static_argnums=0)


class PastFrameCache:
  """Computes the guidance from past frames, and keeps the last window's.

  Args:
    config: configuration of the networks.
  """

  def __init__(self, config: ModelConfig):
    self._keys_values = partial(_keys_values, config)
    self._images: list[np.ndarray | None] = []
    self._rows: list[KeysValues] = []

  def __call__(
    self,
    params: Params,
    images: np.ndarray,
    valid: np.ndarray,
    filled: np.ndarray,
  ) -> PastGuidance:
    """Returns the guidance for a window.

    Args:
      params: parameters of all networks.
      images: (frame, h, w, 3) uint8, the past frame of each frame.
      valid: (frame,) whether the frame has a past frame.
      filled: numbers of the window's frames that the program gets, in its
        order; some come twice.
    """
    distinct: list[np.ndarray | None] = []
    which = []
    for image, exists in zip(images, valid, strict=True):
      wanted = image if exists else None
      place = _find(wanted, distinct)
      if place is None:
        place = len(distinct)
        distinct.append(wanted)
      which.append(place)
    old = [_find(image, self._images) for image in distinct]
    new = [image for image, i in zip(distinct, old, strict=True) if i is None]
    made = iter(self._encode(params, new, images.shape[1:]))
    self._rows = [next(made) if i is None else self._rows[i] for i in old]
    # Copies, so that no whole window stays in memory.
    self._images = [None if x is None else x.copy() for x in distinct]
    count = next_power(len(distinct))
    rows = [self._rows[i % len(distinct)] for i in range(count)]
    return PastGuidance(
      keys_values=jax.tree.map(lambda *x: jnp.concatenate(x), *rows),
      which=jnp.asarray(np.asarray(which, np.int32)[filled]),
    )

  def _encode(
    self,
    params: Params,
    images: Sequence[np.ndarray | None],
    shape: tuple[int, ...],
  ) -> list[KeysValues]:
    if not images:
      return []
    filled = [images[i % len(images)] for i in range(next_power(len(images)))]
    nothing = np.zeros(shape, np.uint8)
    made = self._keys_values(
      params,
      jnp.asarray(np.stack([nothing if x is None else x for x in filled])),
      jnp.asarray([x is not None for x in filled]),
    )
    return [
      jax.tree.map(lambda x, i=i: x[i : i + 1], made)
      for i in range(len(images))
    ]


def next_power(count: int) -> int:
  """The next power of two, so that few programs are compiled.

  Example:
    >>> next_power(5)
    8
  """
  return 1 << (count - 1).bit_length()


def _find(
  image: np.ndarray | None, among: Sequence[np.ndarray | None]
) -> int | None:
  for i, other in enumerate(among):
    if image is None or other is None:
      if image is other:
        return i
    elif np.array_equal(image, other):
      return i
  return None
