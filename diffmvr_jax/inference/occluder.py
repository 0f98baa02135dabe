"""Finds what covers a face in its crops, with a network.

What lies off the face, where the surroundings may have changed by themselves,
counts only if the network has little doubt.

Masks neither flicker nor freeze. A pixel is covered where the network is sure;
where it is half sure, only if that adjoins a place where it is sure, or if the
pixel was covered a frame ago.

The last free crop may be wrong. It may show the tip of what was about to come,
and then that place seems covered once this is gone: so while something seems
covered, the network is now and then asked about an older free crop. And after
seconds the crop may be out of date, as after a change of light: then the
network is asked about the present crop alone. If either looks free, it is.
"""

from collections import deque
from functools import cache
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.config import ModelConfig
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import to_float

_SURE, _HALF_SURE = 0.6, 0.35
_LEAST = 0.0015  # share of the crop; a smaller patch is none
# Where crops show the face: an ellipse of which a patch on the face takes at
# least this share of the crop. Other patches have at least this peak and mean.
_CENTRE, _RADII = (0.5, 0.52), (0.31, 0.4)
_ON_FACE = 0.004
_PEAK, _MEAN = 0.999, 0.88
_PATIENCE = 50  # frames after which the free crop may be out of date
_ALONE_EVERY = 10  # frames, of which one is judged from its crop alone then
# The network is asked about an older free crop in one of so many frames that
# seem covered, after so many for the first time.
_ASKED_EVERY, _ASKED_FIRST = 5, 2
_OLDER = 8  # free crops, of which the first is that older one
_FREE = 0.005  # share of the crop; less of a mask is none


class OccluderNetwork:
  """The network with its parameters, ready to run.

  Args:
    config: configuration of the networks; it has an `occluder`.
    params: parameters, of which `occluder` is used.
    size: side of the crops that it was trained on, in pixels.
  """

  def __init__(self, config: ModelConfig, params: Params, size: int):
    self._params = {"occluder": params["occluder"]}
    self._size = size
    self._program = jax.jit(_probability, static_argnums=0)
    self._model = DiffMVR(config=config)

  @classmethod
  def from_checkpoint(cls, where: str | Path) -> "OccluderNetwork":
    """Loads it from a model that has one.

    Args:
      where: a training run, a file or a name, as `open_model` takes it.

    Raises:
      InputError: there is no such model, or it has no such network.
    """
    stored = open_model(where)
    if "occluder" not in stored.shapes:
      raise InputError(
        f"{where}: a model without an occluder network; leave out --occluder "
        "learned, or train one with configs/occluder.py"
      )
    config = stored.config
    params = stored.load(["occluder"])
    return cls(config.model, params, config.data.image_size)

  def start(self) -> "LearnedOccluder":
    """Returns what finds the occluder in the crops of one clip."""
    return LearnedOccluder(self)

  def compile(self) -> None:
    """Compiles the program before the first crop is there."""
    blank = np.zeros((self._size, self._size, 3), np.uint8)
    self.probability(blank, None)

  def probability(
    self, crop: np.ndarray, free: np.ndarray | None
  ) -> np.ndarray:
    """Returns (s, s) float32, the probability that a pixel is covered.

    Args:
      crop: (s, s, 3) uint8.
      free: (s, s, 3) uint8, the most recent crop that nothing covered; None if
        there is none.
    """
    small = self._resized(crop)
    past = np.zeros_like(small) if free is None else self._resized(free)
    found = self._program(
      self._model, self._params, small, past, np.bool_(free is not None)
    )
    probability = np.asarray(found)
    if len(crop) == self._size:
      return probability
    return cv2.resize(probability, crop.shape[1::-1])

  def _resized(self, crop: np.ndarray) -> np.ndarray:
    if len(crop) == self._size:
      return crop
    shrinks = len(crop) > self._size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(crop, (self._size, self._size), interpolation=method)


class LearnedOccluder:
  """Finds the occluder in the crops of one clip; a `CropOccluder`.

  Args:
    network: tells how probable it is.
  """

  def __init__(self, network: OccluderNetwork):
    self._network = network
    self._last: np.ndarray | None = None
    self._streak = 0  # frames, one after another, that seemed covered
    self._wrong: np.ndarray | None = None  # a free crop, and what to compare
    self._instead: np.ndarray | None = None  # with in its place; None: nothing
    self._frees: deque[np.ndarray] = deque(maxlen=_OLDER)  # the last free crops

  def __call__(self, crop: np.ndarray, free: np.ndarray | None) -> np.ndarray:
    """Returns the mask of the clip's next crop, see `CropOccluder`."""
    mask = steadied(self._asked(crop, free), self._last)
    self._last = mask
    self._streak = self._streak + 1 if mask.mean() > _FREE else 0
    return mask.astype(np.float32)

  def _asked(self, crop: np.ndarray, free: np.ndarray | None) -> np.ndarray:
    if free is None:
      return self._network.probability(crop, None)
    if free is self._wrong:
      return self._network.probability(crop, self._instead)
    if not self._frees or free is not self._frees[-1]:
      self._frees.append(free)
    late = self._streak >= _PATIENCE
    is_full = len(self._frees) == _OLDER
    if self._streak % _ASKED_EVERY == _ASKED_FIRST and is_full:
      other = self._frees[0]
    elif late and self._streak % _ALONE_EVERY == 0:
      other = None
    else:
      return self._network.probability(crop, free)
    probability = self._network.probability(crop, other)
    if float((probability > 0.5).mean()) < _FREE:
      self._wrong, self._instead = free, other
      return probability
    return self._network.probability(crop, free)


def steadied(probability: np.ndarray, last: np.ndarray | None) -> np.ndarray:
  """Turns probabilities into a mask, by two thresholds.

  Args:
    probability: (s, s) float32.
    last: (s, s) uint8, the mask of the frame before; None if there is none.

  Returns:
    (s, s) uint8, 1 where the pixel is covered.

  Example:
    >>> probability = np.zeros((32, 32), np.float32)
    >>> probability[:, 8:16], probability[:, 16:20] = 0.9, 0.5
    >>> float(steadied(probability, None).mean())
    0.375
  """
  sure = (probability > _SURE).astype(np.uint8)
  half = (probability > _HALF_SURE).astype(np.uint8)
  if last is not None:
    # What was covered a frame ago may have moved by a few pixels.
    near = cv2.dilate(last, np.ones((5, 5), np.uint8)) > 0
    sure[near & (probability > 0.5)] = 1
  count, labels, stats, _ = cv2.connectedComponentsWithStats(half)
  labels = np.asarray(labels, np.int32)
  area = stats[:, cv2.CC_STAT_AREA]
  held = np.bincount(labels[sure > 0], minlength=count) > 0
  held &= area >= _LEAST * probability.size
  on_face = np.bincount(labels[_face(len(probability))], minlength=count)
  peaks = np.bincount(labels[probability >= _PEAK], minlength=count)
  total = np.bincount(labels.ravel(), probability.ravel(), minlength=count)
  certain = (peaks > 0) & (total >= _MEAN * area)
  held &= certain | (on_face >= _ON_FACE * probability.size)
  held[0] = False  # what is not half sure
  return held[labels].astype(np.uint8)


@cache
def _face(size: int) -> np.ndarray:
  """(size, size) bool, True where a crop shows the face."""
  places = (np.arange(size) + 0.5) / size
  x, y = ((places - c) / r for c, r in zip(_CENTRE, _RADII, strict=True))
  return x**2 + y[:, None] ** 2 < 1


def _probability(
  model: DiffMVR,
  params: Params,
  crop: jax.Array,
  free: jax.Array,
  is_free: jax.Array,
) -> jax.Array:
  logits = model.covered(
    params, to_float(crop[None]), to_float(free[None]), is_free[None]
  )
  return jax.nn.sigmoid(logits[0, ..., 0]).astype(jnp.float32)
