r"""Runs the frozen encoders once: `python -m diffmvr_jax.encode --config FILE`.

  python -m diffmvr_jax.encode --config FILE --out DIR \
    init_from=START data.path=RECORDS

Writes latents and CLIP tokens of every frame of the split `train`, see
`diffmvr_jax.data.latent_cache`. A training with `data.encoded=DIR
data.flip=False` reads them in place of the images, and runs neither autoencoder
nor CLIP.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from diffmvr_jax.checkpoints.fingerprint import ENCODERS, encoder_fingerprint
from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.config import Config, load_config
from diffmvr_jax.data.latent_cache import (
  EncodedWriter,
  describe_records,
  past_rows,
)
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.training.inputs import frame_rows, past_image_rows


def main(argv: list[str]) -> None:
  """Parses the arguments and encodes."""
  parser = argparse.ArgumentParser(
    prog="python -m diffmvr_jax.encode", description=__doc__
  )
  parser.add_argument("--config", type=Path, required=True)
  parser.add_argument("--out", type=Path, required=True)
  parser.add_argument("--batch", type=int, default=8, help="frames at once")
  parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
  arguments = parser.parse_args(argv)
  config = load_config(arguments.config, arguments.overrides)
  if config.init_from is None:
    raise InputError("init_from=START is needed: the encoders' weights")
  params = open_model(config.init_from).load(ENCODERS)
  encode(config, params, arguments.out, arguments.batch)


def encode(config: Config, params: Params, out: Path, batch: int) -> None:
  """Encodes the split `train` of `config.data.path`.

  Args:
    config: model and data.
    params: of the encoders.
    out: folder to write.
    batch: frames at once.

  Raises:
    InputError: an encoder is missing, or a record cannot be used.
  """
  model = DiffMVR(config=config.model)
  refuse_lacking(config, params)
  records = RecordSource(config.data.path, "train")
  past_positions, past_row = past_rows(records)
  jobs = (
    (partial(frame_rows, model), list(range(len(records)))),
    (partial(past_image_rows, model), past_positions),
  )
  bar = tqdm(
    total=sum(len(positions) for _, positions in jobs),
    unit="frame",
    file=sys.stderr,
  )
  with bar, EncodedWriter(out) as writer:
    writer.write("past_row", 0, past_row, len(past_row))
    for program, positions in jobs:
      compiled = jax.jit(program)
      for start in range(0, len(positions), batch):
        chosen = positions[start : start + batch]
        # The last part is filled up: one compiled shape.
        frames = read_frames(records, np.resize(chosen, batch).tolist())
        if "target" not in frames:
          raise InputError(
            f"{config.data.path}: frames without a target cannot be trained on"
          )
        inputs = {name: jnp.asarray(x)[:, None] for name, x in frames.items()}
        for name, rows in compiled(params, inputs).items():
          rows = np.asarray(rows[: len(chosen)])
          writer.write(name, start, rows, len(positions))
        bar.update(len(chosen))
    writer.describe(
      {
        "records": describe_records(records),
        "encoders": encoder_fingerprint(params),
      }
    )


def refuse_lacking(config: Config, params: Params) -> None:
  """Refuses weights without one of the encoders.

  Raises:
    InputError: naming what is missing.
  """
  lacking = {"autoencoder", "scaling_factor"} - params.keys()
  if config.model.guidance.encoder != "latent":
    lacking |= {"clip"} - params.keys()
  if lacking:
    raise InputError(f"{config.init_from}: has no {min(lacking)}")


if __name__ == "__main__":
  run_command(main)
