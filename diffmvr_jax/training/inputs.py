"""What a training step reads: images, or what the frozen encoders made of them.

A batch is a dictionary of arrays (window, frame, …). Images are named as in the
data contract. Encoded frames are the rows that `frame_rows` and
`past_image_rows` make, and that `diffmvr_jax.encode` writes once. A loss takes
either kind as a `Sample`.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from diffmvr_jax.config import Config, needed_arrays
from diffmvr_jax.data.batches import Windows
from diffmvr_jax.data.latent_cache import EncodedWindows
from diffmvr_jax.data.prior_windows import WithPrior
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource, array_types
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.observation import (
  Encoded,
  Features,
  existing_images,
  observed,
)

Batch = dict[str, Any]
Shapes = dict[str, jax.ShapeDtypeStruct]


@struct.dataclass
class Sample:
  """Windows as the diffusion stage takes them.

  Attributes:
    mean: mean of the scaled latents of the unoccluded frames.
    deviation: standard deviation of the same latents.
    encoded: what the encoders made of the occluded frames.
  """

  mean: Float[Array, "n i j l"]
  deviation: Float[Array, "n i j l"]
  encoded: Encoded


Encode = Callable[[Params, Batch], Sample]


def open_windows(
  config: Config,
  records: RecordSource,
  *,
  window: int | None = None,
  occluded_only: bool = True,
  arrays: Collection[str] = (),
) -> WindowSource:
  """Windows of `data.window` frames, or of `window` frames if it is given.

  Args:
    config: configuration of the run.
    records: the frames.
    window: None means `data.window`.
    occluded_only: leaves out windows in which nothing is occluded.
    arrays: names of the arrays of aligned guidance to read.
  """
  return WindowSource(
    records,
    window=window or config.data.window,
    stride=config.data.stride,
    image_size=config.data.image_size,
    occluded_only=occluded_only,
    arrays=arrays,
  )


def open_training_windows(config: Config, records: RecordSource) -> Windows:
  """What the diffusion stage trains on: images, or `data.encoded` if given.

  Raises:
    InputError: the folder is not complete, or it is of other records.
  """
  arrays, prior = needed_arrays(config), config.diffusion_stage.prior
  windows = open_windows(config, records, arrays=arrays)
  if prior is not None:
    of_class = RecordSource(prior.path, "train")
    return WithPrior(windows, open_windows(config, of_class, arrays=arrays))
  if config.data.encoded is None:
    return windows
  return EncodedWindows(windows, records, Path(config.data.encoded))


def shapes_of(windows: Windows, batch_size: int) -> Shapes:
  """Shapes of a batch of windows, found by reading one window."""
  batch = windows.read([0], [False])
  batch.pop("window_id")
  return {
    name: jax.ShapeDtypeStruct((batch_size, *value.shape[1:]), value.dtype)
    for name, value in batch.items()
  }


def expected_shapes(
  config: Config, batch_size: int, *, encoded: bool
) -> Shapes:
  """Shapes of a batch that a config asks for; no data is read.

  Args:
    config: configuration of the run.
    batch_size: number of windows.
    encoded: whether the batch holds encoded frames, not images.
  """
  shapes = encoded_shapes if encoded else image_shapes
  return shapes(config, (batch_size, config.data.window))


def image_shapes(config: Config, lead: tuple[int, ...]) -> Shapes:
  """Shapes of a batch of images with the leading axes (window, frame)."""
  types = array_types(config.data.image_size, needed_arrays(config))
  return {
    name: jax.ShapeDtypeStruct((*lead, *shape), dtype)
    for name, (shape, dtype) in types.items()
  }


def encoded_shapes(config: Config, lead: tuple[int, ...]) -> Shapes:
  """Shapes of a batch of encoded frames with the same leading axes."""
  model = DiffMVR.of(config)
  params = model.shapes(config.data.image_size)
  frame = image_shapes(config, (1, 1))
  rows = jax.eval_shape(partial(frame_rows, model), params, frame)
  rows |= jax.eval_shape(partial(past_image_rows, model), params, frame)
  return {
    name: jax.ShapeDtypeStruct((*lead, *x.shape[1:]), x.dtype)
    for name, x in rows.items()
  } | {"past_valid": jax.ShapeDtypeStruct(lead, bool)}


def encode_images(model: DiffMVR) -> Encode:
  """Takes batches of images, and runs the encoders on them."""

  def encode(params: Params, batch: Batch) -> Sample:
    target = flatten_frames(to_float(batch["target"]))
    mean, deviation = model.moments(params, target)
    return Sample(
      mean=mean,
      deviation=deviation,
      encoded=model.observe(params, observed(batch)),
    )

  return encode


def read_encoded(model: DiffMVR) -> Encode:
  """Takes batches of encoded frames: no encoder runs."""

  def encode(params: Params, batch: Batch) -> Sample:
    del params
    flat = {name: flatten_frames(x) for name, x in batch.items()}
    exists = existing_images(
      model.config.unet.branches, flat["symmetric_valid"], flat["past_valid"]
    )

    def full(name: str) -> jax.Array:
      return flat[name].astype(jnp.float32)

    def feature(name: str) -> jax.Array | None:
      return full(name) if name in flat else None

    return Sample(
      mean=full("mean"),
      deviation=full("deviation"),
      encoded=Encoded(
        mask=full("mask"),
        masked_latents=full("masked_latents"),
        features={
          branch: (feature(f"{branch}.clip"), feature(f"{branch}.latents"))
          for branch in exists
        },
        exists=exists,
      ),
    )

  return encode


def frame_rows(model: DiffMVR, params: Params, batch: Batch) -> Batch:
  """What is written once per frame; `batch` has windows of one frame."""
  sample = encode_images(model)(params, batch)
  rows = {
    "mean": sample.mean,
    "deviation": sample.deviation,
    "masked_latents": sample.encoded.masked_latents,
  }
  for branch, features in sample.encoded.features.items():
    if branch != "past":
      rows |= _named(branch, features)
  return _halved(rows) | {
    "mask": sample.encoded.mask.astype(jnp.uint8),
    "symmetric_valid": batch["symmetric_valid"][:, 0],
  }


def past_image_rows(model: DiffMVR, params: Params, batch: Batch) -> Batch:
  """What is written once per frame that is the past frame of others."""
  if "past" not in model.config.unet.branches:
    return {}
  images = flatten_frames(to_float(batch["frame"]))
  features = model.guidance_features(params, images, "past")
  return _halved(_named("past", features))


def _named(branch: str, features: Features) -> dict[str, jax.Array]:
  names = (f"{branch}.clip", f"{branch}.latents")
  pairs = zip(names, features, strict=True)
  return {name: x for name, x in pairs if x is not None}


def _halved(rows: dict[str, jax.Array]) -> dict[str, jax.Array]:
  return {name: x.astype(jnp.float16) for name, x in rows.items()}
