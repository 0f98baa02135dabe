"""Fills the occluded part of cropped frames with a trained model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.buckets import Place, copied, place
from diffmvr_jax.checkpoints.model import open_for_inference
from diffmvr_jax.config import (
  AutoencoderConfig,
  Config,
  check,
  needed_arrays,
)
from diffmvr_jax.data.windows import FLAGS, SOURCES, Window
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import sha256
from diffmvr_jax.inference.crop_filling import restore_clip
from diffmvr_jax.inference.past_guidance import PastFrameCache, next_power
from diffmvr_jax.inference.sampling import Region, restore_window
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.observation import observed
from diffmvr_jax.weights.tiny_decoder import (
  find_tiny_decoder,
  read_tiny_decoder,
)

# Shared, so that restorers of the same configuration compile once.
_restore = jax.jit(
  restore_window, static_argnums=(0, 1), static_argnames="decoder"
)
_IMAGES = ("frame", "mask", "symmetric")
# Are cut to the region that is restored, if they are there.
_CUT = ("frame", "mask", "propagated", "propagated_confidence")


class CropRestorer:
  """Fills the masked part of cropped frames; a `CropFiller`.

  Args:
    config: configuration of the training run; `sampling` may differ.
    params: parameters of all networks.
    checkpoint: text that identifies the parameters in a restored file.
    decoder: configuration of a tiny decoder for the same latents, whose
      parameters are `params["tiny_decoder"]`; None means the model's own.

  Example:
    >>> restorer = CropRestorer.from_checkpoint("runs/ward")  # doctest: +SKIP
    >>> restored = restorer(window)  # doctest: +SKIP
  """

  def __init__(
    self,
    config: Config,
    params: Params,
    checkpoint: str = "",
    decoder: AutoencoderConfig | None = None,
  ):
    check(config)
    self.config, self.checkpoint = config, checkpoint
    self._params = params
    self._factor = DiffMVR.of(config).factor
    self._schedule = make_schedule(config.diffusion)
    self._program = partial(
      _restore, config.model, config.sampling, decoder=decoder
    )
    self._past_frames = None
    if "past" in config.model.unet.branches and config.sampling.steps:
      self._past_frames = PastFrameCache(config.model)
    self._names = (*_IMAGES, *FLAGS, *self.arrays)
    if "past" in config.model.guidance.concat and config.sampling.steps:
      self._names += ("past",)

  @classmethod
  def from_checkpoint(
    cls,
    workdir: str | Place,
    overrides: Sequence[str] = (),
    *,
    decoder: str | Path | None = None,
  ) -> "CropRestorer":
    """Loads a model that `diffmvr_jax.train` wrote.

    Args:
      workdir: directory of the training run, or another name that `open_model`
        knows, such as `pretrained:faces128`; it may lie in a bucket.
      overrides: settings of the sampling, such as `sampling.steps=10`.
      decoder: file of a TAESD decoder for the model's latents, which is
        faster than the model's own, or "tiny", see `find_tiny_decoder`.

    Raises:
      InputError: there is no finished checkpoint, an override is wrong, or the
        decoder does not fit the model.
    """
    for assignment in overrides:
      if not assignment.startswith("sampling."):
        raise InputError(
          f"{assignment}: only sampling.KEY=VALUE can be set here; the rest "
          "belongs to the checkpoint"
        )
    with copied(place(workdir)) as local:
      stored = open_for_inference(local, overrides)
      params, tiny = stored.load(), None
    config = stored.config
    name = f"{config.name}, step {stored.step}, SHA-256 {stored.digest}"
    if decoder is not None:
      if config.sampling.steps == 0:
        raise InputError("--decoder: nothing is decoded with sampling.steps=0")
      path = find_tiny_decoder(decoder)
      tiny, params["tiny_decoder"] = read_tiny_decoder(
        path, config.model.autoencoder
      )
      name += f", decoder {path.name}, SHA-256 {sha256(path)}"
    return cls(config, params, name, tiny)

  @property
  def crop_size(self) -> int:
    """Side of the crops, in pixels."""
    return self.config.data.image_size

  @property
  def has_occluder(self) -> bool:
    """Whether the model has a network that tells what covers a face."""
    return "occluder" in self._params

  @property
  def window(self) -> int:
    """The largest number of frames in one call of the network."""
    return self.config.sampling.window

  @property
  def aligned(self) -> str:
    """How much aligned guidance the windows have to hold."""
    if set(SOURCES) & set(self.arrays):
      return "sources"
    return "propagated" if self.arrays else "none"

  @property
  def arrays(self) -> tuple[str, ...]:
    """Names of the arrays of aligned guidance that the network reads."""
    return needed_arrays(self.config)

  @property
  def provenance(self) -> Mapping[str, Any]:
    """What a restored file says of the model, ready for JSON."""
    return {
      "checkpoint": self.checkpoint,
      "sampling": asdict(self.config.sampling),
    }

  def __call__(self, clip: Window, seed: int = 0) -> np.ndarray:
    """Restores a clip of crops, see `restore_clip`."""
    return restore_clip(self, clip, seed)

  def fill(
    self,
    window: Window,
    frame_index: np.ndarray,
    seed: int,
    *,
    previous: np.ndarray | None = None,
  ) -> np.ndarray:
    """Runs the network on every frame, occluded or not.

    The window is filled up to a power of two of frames, so that few programs
    are compiled, whatever the videos' lengths. A past frame that was in the
    last window is not encoded again.

    Args:
      window: arrays (frame, h, w, c) named as in the data contract.
      frame_index: (frame,) number of each frame in its video, which decides
        its noise.
      seed: the same seed gives the same pixels.
      previous: (h, w, 3) uint8, the network's pixels of the frame before, from
        which sampling starts if `sampling.start_at` is below 1.

    Returns:
      (frame, h, w, 3) uint8, the network's pixels; with `sampling.region`
      "mask", the frame's own outside of the region.
    """
    count = len(frame_index)
    filled = np.arange(next_power(count)) % count
    place = self._place(window["mask"])
    cut = {name: window[name][:, *place] for name in _CUT if name in window}
    seen = self._arrays(window | cut, filled)
    if self.config.sampling.start_at == 1:
      previous = None
    past = None
    if self._past_frames is not None:
      past = self._past_frames(
        self._params,
        images=window["past"],
        valid=window["past_valid"],
        filled=filled,
      )
    restored = self._program(
      self._params,
      self._schedule,
      observed({"past": None} | seen),
      key=jax.random.key(seed),
      frame_index=jnp.asarray(frame_index[filled][None], jnp.int32),
      past=past,
      previous=None if previous is None else jnp.asarray(previous[place]),
      region=self._region(place, window["mask"].shape[1]),
    )
    whole = window["frame"].copy()
    whole[:, *place] = np.asarray(restored)[0, :count]
    return whole

  def confidence(self, window: Window) -> None:
    """Only samples tell how sure the network is."""
    del window

  def _arrays(self, window: Window, filled: np.ndarray) -> dict[str, jax.Array]:
    """What the network reads of a window.

    Raises:
      InputError: something is missing.
    """
    for name in self._names:
      if name not in window:
        raise InputError(
          f"the model needs {name!r} of every frame, and the records do not "
          "have it; export them again"
        )
    return {
      name: jnp.asarray(window[name][filled][None]) for name in self._names
    }

  def _place(self, masks: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of the crop that go through the network."""
    size = masks.shape[1]
    everything = slice(0, size), slice(0, size)
    if self.config.sampling.region == "crop":
      return everything
    left, top, width, height = cv2.boundingRect(masks.max(0)[..., 0])
    levels = len(self.config.model.unet.block_channels)
    multiple = self._factor * 2 ** (levels - 1)
    for share in (0.5, 0.75):
      side = -(-round(share * size) // multiple) * multiple
      if max(width, height) + size // 8 <= side < size:
        middle = top + height // 2, left + width // 2
        corner = [
          min(max(0, m - side // 2), size - side) // self._factor * self._factor
          for m in middle
        ]
        return slice(corner[0], corner[0] + side), slice(
          corner[1], corner[1] + side
        )
    return everything

  def _region(self, place: tuple[slice, slice], size: int) -> Region | None:
    rows, columns = place
    if rows.stop - rows.start == size:
      return None
    corner = [rows.start // self._factor, columns.start // self._factor]
    return Region(corner=jnp.asarray(corner), side=size // self._factor)
