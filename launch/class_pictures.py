r"""Pictures of a class, for DreamBooth's prior preservation.

  python -m launch.class_pictures runs/dreambooth_start --count 200 --out DIR
  python -m data_prep export stills:DIR --out CLASS

A model is told its class prompt, and paints whole pictures, as Ruiz et al. 2023
let the model make them that is to be tuned. `CLASS` is then what
`diffusion_stage.prior.path` takes. Pictures that are there already are kept, so
a run that is stopped goes on.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.checkpoints.model import open_for_inference
from diffmvr_jax.command_line.arguments import ArgumentParser, seed, whole
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.files import make_folder, write_atomically
from diffmvr_jax.inference.sampling import restore_window
from diffmvr_jax.models.diffmvr import PROMPTS, DiffMVR, Params
from diffmvr_jax.models.observation import Observation


def paint(
  where: str, out: Path, count: int, overrides: Sequence[str], seed: int
) -> None:
  """Writes `OUT/00000.png` and so on.

  Args:
    where: a model with a text branch, see `open_model`.
    out: folder for the pictures.
    count: number of pictures that are to be there.
    overrides: settings of the sampling, such as `sampling.steps=30`.
    seed: the same seed gives the same pictures.

  Raises:
    InputError: the model has no text branch or no class prompt, an override is
      wrong, or the folder cannot be written.
  """
  for assignment in overrides:
    if not assignment.startswith("sampling."):
      raise InputError(f"{assignment}: only sampling.KEY=VALUE can be set here")
  stored = open_for_inference(where, overrides)
  config, size = stored.config, stored.config.data.image_size
  if "text" not in config.model.unet.branches:
    raise InputError(f"{where}: the model is not told anything in words")
  make_folder(out)  # refused now, not after the model is loaded
  params = stored.load()
  _check_class_prompt(where, DiffMVR.of(config), params)
  program = jax.jit(
    partial(restore_window, config.model, config.sampling, prompt="class")
  )
  inputs = params, make_schedule(config.diffusion), _all_covered(size)
  for number in progress_bar(range(count), desc="pictures", unit="picture"):
    path = out / f"{number:05}.png"
    if path.exists():
      continue
    picture = program(
      *inputs,
      key=jax.random.fold_in(jax.random.key(seed), number),
      frame_index=jnp.zeros((1, 1), jnp.int32),
    )
    _, png = cv2.imencode(".png", np.asarray(picture)[0, 0, ..., ::-1])
    write_atomically(path, png.tobytes())


def _check_class_prompt(where: str, model: DiffMVR, params: Params) -> None:
  prompts = np.asarray(model.prompts(params))
  rows = (prompts[PROMPTS.index(name)] for name in ("class", "empty"))
  if np.array_equal(*rows):
    raise InputError(
      f"{where}: was imported without a class prompt; import it again with "
      "--class-prompt"
    )


def _all_covered(size: int) -> Observation:
  """A grey frame of which nothing is to stay."""
  grey = jnp.full((1, 1, size, size, 3), 127, jnp.uint8)
  nowhere = jnp.zeros((1, 1), bool)
  return Observation(
    frame=grey,
    mask=jnp.ones((1, 1, size, size, 1), jnp.uint8),
    symmetric=grey,
    past=None,
    symmetric_valid=nowhere,
    past_valid=nowhere,
  )


def main(argv: list[str]) -> None:
  """Parses the arguments and paints."""
  parser = ArgumentParser(
    prog="python -m launch.class_pictures",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("model", help="workdir of an import with --class-prompt")
  parser.add_argument("overrides", nargs="*", metavar="sampling.KEY=VALUE")
  parser.add_argument("--count", type=whole(1, 100_000), default=200)
  parser.add_argument("--out", type=Path, required=True, metavar="DIR")
  parser.add_argument("--seed", type=seed, default=0)
  arguments = parser.parse_args(argv)
  paint(
    arguments.model,
    arguments.out,
    arguments.count,
    arguments.overrides,
    arguments.seed,
  )


if __name__ == "__main__":
  run_command(main)
