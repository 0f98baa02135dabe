"""Trains a model: `python -m diffmvr_jax.train --config FILE --workdir DIR`.

Further arguments override the config: `diffusion_stage.steps=500`. A second
run with the same workdir resumes.
"""

import sys
from pathlib import Path

from diffmvr_jax.command_line.arguments import ArgumentParser
from diffmvr_jax.config import load_config
from diffmvr_jax.errors import run_command
from diffmvr_jax.runtime.cpu_memory import keep_memory
from diffmvr_jax.runtime.processes import initialize
from diffmvr_jax.training.loop import Preempted, train


def main(argv: list[str]) -> None:
  """Parses the arguments and trains."""
  parser = ArgumentParser(
    prog="python -m diffmvr_jax.train", description=__doc__
  )
  parser.add_argument("--config", type=Path, required=True)
  parser.add_argument("--workdir", type=Path, required=True)
  parser.add_argument(
    "overrides", nargs="*", metavar="KEY=VALUE", help="dotted config keys"
  )
  arguments = parser.parse_args(argv)
  config = load_config(arguments.config, arguments.overrides)
  initialize()
  keep_memory()
  try:
    train(config, arguments.workdir)
  except FloatingPointError as error:
    sys.exit(f"error: {error}")
  except Preempted as stop:
    print(f"stopped by SIGTERM: {stop}", file=sys.stderr)


if __name__ == "__main__":
  run_command(main)
