"""Restores windows of cropped frames with a trained model."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.config import Config, from_dict
from diffmvr_jax.config_values import override
from diffmvr_jax.data.windows import Window
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.paste import composite, feather
from diffmvr_jax.inference.sampling import restore_window
from diffmvr_jax.models.diffmvr import Observation, Params
from diffmvr_jax.training.stored import open_for_inference

_INPUTS = tuple(Observation.__annotations__)


class CropRestorer:
  """Fills the masked part of frames; pure but for its compiled program.

  Args:
    config: of the training run; `sampling` may be replaced.
    params: of all networks.
    checkpoint: what identifies them, for those who look at a result.

  Example:
    >>> restorer = CropRestorer.from_checkpoint("runs/demo")  # doctest: +SKIP
    >>> restored = restorer(window)  # doctest: +SKIP
  """

  def __init__(self, config: Config, params: Params, checkpoint: str = ""):
    self.config, self.checkpoint = config, checkpoint
    self._params = params
    self._schedule = make_schedule(config.diffusion)
    self._program = jax.jit(
      partial(restore_window, config.model, config.sampling)
    )

  @classmethod
  def from_checkpoint(
    cls, workdir: str | Path, overrides: Sequence[str] = ()
  ) -> "CropRestorer":
    """Loads a model that `diffmvr_jax.train` wrote.

    Args:
      workdir: of the training.
      overrides: of how a restoration is drawn, such as `sampling.steps=10`.

    Raises:
      InputError: there is no finished checkpoint; a wrong override.
    """
    stored = open_for_inference(workdir)
    config = stored.config
    for assignment in overrides:
      if not assignment.startswith("sampling."):
        raise InputError(
          f"{assignment}: only sampling.KEY=VALUE can be set here; the rest "
          "belongs to the checkpoint"
        )
      config = override(config, assignment)
    config = from_dict(asdict(config))
    name = f"{config.name}, step {stored.step}, SHA-256 {stored.digest}"
    return cls(config, stored.load(), name)

  def __call__(self, clip: Window, seed: int = 0) -> np.ndarray:
    """Restores a clip of any length.

    Frames without occlusion are returned as they are and cost nothing; the
    others go through the network in windows of `sampling.window` frames.

    Args:
      clip: arrays (frame, h, w, c) named as in the data contract.
      seed: the same seed gives the same pixels.

    Returns:
      (frame, h, w, 3) uint8; outside of the feathered mask equal to `frame`.
    """
    restored = clip["frame"].copy()
    occluded = np.flatnonzero(clip["mask"].any((1, 2, 3)))
    length = self.config.sampling.window
    for start in range(0, len(occluded), length):
      chosen = occluded[start : start + length]
      window = {name: clip[name][chosen] for name in _INPUTS}
      crops = self.restore(window, chosen, seed)
      for i, crop in zip(chosen, crops, strict=True):
        alpha = feather(clip["mask"][i, ..., 0])
        restored[i] = composite(clip["frame"][i], crop, alpha)
    return restored

  def restore(
    self, window: Window, frame_index: np.ndarray, seed: int
  ) -> np.ndarray:
    """Runs the network on every frame, occluded or not.

    The window is filled up to a power of two of frames, so few programs are
    compiled, whatever the videos' lengths.

    Args:
      window: arrays (frame, h, w, c) named as in the data contract.
      frame_index: (frame,) of each in its video; decides its noise.
      seed: the same seed gives the same pixels.

    Returns:
      (frame, h, w, 3) uint8, the network's pixels everywhere.
    """
    count = len(frame_index)
    filled = np.arange(1 << (count - 1).bit_length()) % count
    batch = {name: jnp.asarray(window[name][filled])[None] for name in _INPUTS}
    images = self._program(
      self._params,
      self._schedule,
      Observation(**batch),
      jax.random.key(seed),
      jnp.asarray(frame_index[filled], jnp.int32)[None],
    )
    return np.asarray(images[0, :count])
