"""Guidance of past frames, made once for as long as they stay the same."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.config import ModelConfig
from diffmvr_jax.inference.sampling import Past, past_guidance
from diffmvr_jax.models.attention import KeysValues
from diffmvr_jax.models.diffmvr import Params

_guide = jax.jit(past_guidance, static_argnums=0)  # as the restorers' program


class PastFrames:
  """Encodes past frames, and remembers those of the last window.

  Args:
    config: of the networks.
  """

  def __init__(self, config: ModelConfig):
    self._guide = partial(_guide, config)
    self._images: list[np.ndarray | None] = []
    self._rows: list[KeysValues] = []

  def __call__(
    self,
    params: Params,
    images: np.ndarray,
    valid: np.ndarray,
    filled: np.ndarray,
  ) -> Past:
    """Guidance for a window.

    Args:
      params: of all networks.
      images: (frame, h, w, 3) uint8, each frame's past frame.
      valid: (frame,), whether there is one.
      filled: which frames the program gets, in its order.
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
    return Past(
      guidance=jax.tree.map(lambda *x: jnp.concatenate(x), *rows),
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
    made = self._guide(
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
