"""The main job on drawn faces: data, training, restoration, report.

  python -m launch.demo_train [--out runs/demo_train]

Each step is one of the project's commands. A second run resumes: finished
steps are recognised by what they wrote. Ends with code 1 if the model loses to
a method without training.
"""

import sys
import time
from pathlib import Path

from data_prep.__main__ import main as prepare_data
from diffmvr_jax.command_line.arguments import ArgumentParser
from diffmvr_jax.config import load_config
from diffmvr_jax.errors import run_command
from diffmvr_jax.files import make_folder
from diffmvr_jax.training.loop import Preempted, train
from launch.compared import compare, say

CONFIG = Path(__file__).parents[1] / "configs" / "demo.py"
PEOPLE = "procedural:0-95"


def main(argv: list[str]) -> None:
  """Runs the demo."""
  parser = ArgumentParser(
    prog="python -m launch.demo_train", description=__doc__
  )
  parser.add_argument("--out", type=Path, default=Path("runs/demo_train"))
  parser.add_argument(
    "overrides", nargs="*", metavar="KEY=VALUE", help="dotted config keys"
  )
  arguments = parser.parse_args(argv)
  out = arguments.out
  data, workdir = out / "data", out / "train"
  config = load_config(CONFIG, [f"data.path={data}", *arguments.overrides])
  size = str(config.data.image_size)
  start = time.perf_counter()
  make_folder(out)
  say("1/3 data: drawing faces and hands")
  prepare_data(
    [
      *("export", PEOPLE, "--out", str(data), "--size", size),
      *("--workers", "2"),
    ]
  )
  say("2/3 training: autoencoder, fusion, then diffusion")
  try:
    train(config, workdir)
  except Preempted as stop:
    sys.exit(f"stopped by SIGTERM: {stop}")  # another run resumes
  say("3/3 restoring held-out people, and comparing")
  compare(workdir, data, out, start)


if __name__ == "__main__":
  run_command(main)
