"""The main job on drawn faces: data, training, restoration, report.

  python -m launch.demo [--out runs/demo]

Each step is one of the project's commands. A second run resumes: finished
steps are recognised by what they wrote.
"""

import argparse
import sys
import time
from pathlib import Path

from data_prep.__main__ import main as prepare_data
from diffmvr_jax.config import load_config
from diffmvr_jax.errors import run_command
from diffmvr_jax.evaluate import main as evaluate
from diffmvr_jax.training.loop import Preempted, train

CONFIG = Path(__file__).parents[1] / "configs" / "demo.py"
PEOPLE = "procedural:0-95"


def main(argv: list[str]) -> None:
  """Runs the demo."""
  parser = argparse.ArgumentParser(
    prog="python -m launch.demo", description=__doc__
  )
  parser.add_argument("--out", type=Path, default=Path("runs/demo"))
  out = parser.parse_args(argv).out
  data, workdir = out / "data", out / "train"
  config = load_config(CONFIG, [f"data.path={data}"])
  size = str(config.data.image_size)
  start = time.perf_counter()

  _say("1/3 data: drawing faces and hands")
  prepare_data(["export", PEOPLE, "--out", str(data), "--size", size])
  _say("2/3 training: autoencoder, then diffusion")
  try:
    train(config, workdir)
  except Preempted as stop:
    sys.exit(f"stopped by SIGTERM: {stop}")  # another run resumes
  _say("3/3 restoring held-out people, and comparing")
  if (out / "report.html").exists():  # what the evaluation writes last
    print(f"{out}: already evaluated")
  else:
    evaluate(
      ["--checkpoint", str(workdir), "--data", str(data), "--out", str(out)]
    )
  minutes = (time.perf_counter() - start) / 60
  _say(f"done in {minutes:.1f} minutes; open {out / 'report.html'}")


def _say(text: str) -> None:
  print(f"[demo] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
  run_command(main)
