"""Trains and evaluates the variants of an experiment, and tabulates them.

  python -m diffmvr_jax.sweep --config configs/ablation_guidance.py \
    --workdir DIR [KEY=VALUE …]

Each run lies in WORKDIR/VARIANT/seedN and ends with `scores-SPLIT.json`; a
second call goes on where the first stopped, and finished runs are only read.
The launchers of `launch/` start it on several hosts as they start a training;
WORKDIR has to be a folder that all of them see.
The tables go to `NAME.md` and `NAME.csv`, the plot to `NAME-SPLIT.png`, where
NAME is the config file's.
"""

import argparse
from pathlib import Path

import jax

from diffmvr_jax.ablation.run import run_sweep
from diffmvr_jax.ablation.spec import load_sweep
from diffmvr_jax.command_line.arguments import ArgumentParser
from diffmvr_jax.errors import run_command
from diffmvr_jax.runtime.cpu_memory import keep_memory
from diffmvr_jax.runtime.processes import initialize
from diffmvr_jax.training.loop import Preempted


def main(argv: list[str]) -> None:
  """Parses the arguments and runs the sweep."""
  parser = ArgumentParser(
    prog="python -m diffmvr_jax.sweep",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--config", type=Path, required=True)
  parser.add_argument("--workdir", type=Path, required=True)
  parser.add_argument(
    "--weights", type=Path, help="folder of the metrics' networks"
  )
  parser.add_argument(
    "overrides",
    nargs="*",
    metavar="KEY=VALUE",
    help="dotted keys of the base experiment, or seeds=0,1",
  )
  args = parser.parse_args(argv)
  initialize()
  sweep = load_sweep(args.config, args.overrides)
  keep_memory()
  try:
    text = run_sweep(sweep, args.workdir, args.config.stem, args.weights)
    if jax.process_index() == 0:
      print(text)
  except Preempted as stop:
    print(f"stopped by SIGTERM: {stop}")


if __name__ == "__main__":
  run_command(main)
