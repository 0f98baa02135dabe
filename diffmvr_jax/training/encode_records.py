"""Runs the frozen encoders once over a data set.

What they make of each frame is kept as `diffmvr_jax.data.latent_cache` says,
so that a training run needs to run neither autoencoder nor CLIP.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.checkpoints.fingerprint import encoder_fingerprint, is_encoder
from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.config import Config, clip_towers
from diffmvr_jax.data.latent_cache import (
  EncodedWriter,
  describe_records,
  past_rows,
)
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.training.inputs import Batch, frame_rows, past_image_rows


def encode_records(config: Config, out: Path, batch: int) -> None:
  """Encodes the split `train` of `config.data.path`.

  Args:
    config: model and data; `init_from` holds the encoders' weights.
    out: folder to write.
    batch: number of frames that are encoded at once.

  Raises:
    InputError: an encoder is missing, or a record cannot be used.
  """
  if config.init_from is None:
    raise InputError("init_from=START is needed: the encoders' weights")
  stored = open_model(config.init_from)
  params = stored.load([name for name in stored.shapes if is_encoder(name)])
  _refuse_missing_encoders(config, params)
  model = DiffMVR.of(config)
  records = RecordSource(config.data.path, "train")
  past_positions, past_row = past_rows(records)
  # Each program encodes the frames at these positions.
  jobs = (
    (partial(frame_rows, model), list(range(len(records)))),
    (partial(past_image_rows, model), past_positions),
  )
  bar = progress_bar(
    total=sum(len(positions) for _, positions in jobs), unit="frame"
  )
  with bar, EncodedWriter(out) as writer:
    writer.write("past_row", 0, past_row, len(past_row))
    for program, positions in jobs:
      encode = partial(jax.jit(program), params)
      for start in range(0, len(positions), batch):
        chosen = positions[start : start + batch]
        rows = _encode_frames(encode, records, chosen, batch)
        for name, values in rows.items():
          writer.write(name, start, values, len(positions))
        bar.update(len(chosen))
    writer.describe(
      {
        "records": describe_records(records),
        "encoders": encoder_fingerprint(params),
      }
    )


def _encode_frames(
  encode: Callable[[Batch], dict[str, Any]],
  records: RecordSource,
  positions: Sequence[int],
  batch: int,
) -> dict[str, np.ndarray]:
  """Encodes frames as windows of one frame, `batch` of them in one program."""
  # The last part is filled up: one compiled shape.
  filled = np.resize(positions, batch).tolist()
  frames = read_frames(records, filled)
  if "target" not in frames:
    raise InputError(
      f"{records.shards[0].parent}: frames without a target cannot be trained "
      "on"
    )
  rows = encode({name: jnp.asarray(x)[:, None] for name, x in frames.items()})
  return {name: np.asarray(x[: len(positions)]) for name, x in rows.items()}


def _refuse_missing_encoders(config: Config, params: Params) -> None:
  needed = {"autoencoder", "scaling_factor", *clip_towers(config.model)}
  missing = sorted(needed - params.keys())
  if missing:
    raise InputError(f"{config.init_from}: has no {missing[0]}")
