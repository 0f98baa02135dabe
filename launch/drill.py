"""Kills a training run at random moments, and shows that nothing is lost.

  python -m launch.drill [--kills 20] [--out runs/drill]

The same short training run is made twice: once undisturbed, and once killed by
SIGKILL at random moments, in a step, in a save, while data are loaded. In the
end parameters, averages, optimizer state and the order of the data have to be
the same, bit for bit. Ends with code 1 where they are not.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from data_prep.__main__ import main as prepare_data
from diffmvr_jax.command_line.arguments import ArgumentParser, seed, whole
from diffmvr_jax.errors import InputError, run_command

CONFIG = Path(__file__).parents[1] / "configs" / "drawn64.py"
SETTINGS = (
  "autoencoder_stage.steps=30",
  "autoencoder_stage.batch_size=8",
  "diffusion_stage.steps=200",
  "diffusion_stage.batch_size=2",
  "model.unet.block_channels=[16,32]",
  "model.unet.attention=[True,False]",
  "model.unet.heads=[2,2]",
  "data.window=2",
  "checkpoint.every=5",
  "checkpoint.keep=3",
  "log_every=1",
)


def main(argv: list[str]) -> None:
  """Runs the drill."""
  parser = ArgumentParser(prog="python -m launch.drill", description=__doc__)
  parser.add_argument("--kills", type=whole(1, 10_000), default=20)
  parser.add_argument("--seed", type=seed, default=0)
  parser.add_argument("--out", type=Path, default=Path("runs/drill"))
  arguments = parser.parse_args(argv)
  out = arguments.out
  if (out / "killed").exists():
    raise InputError(f"{out}: holds a drill already; delete it first")
  names = ["procedural:0-3", "--out", str(out / "data"), "--size", "64"]
  prepare_data(["export", *names])

  _finish(out, "whole")
  print("the undisturbed run is done", flush=True)
  kills = _kill(out, arguments.kills, random.Random(arguments.seed))
  _finish(out, "killed")
  differences = compare(out / "whole", out / "killed")
  for difference in differences:
    print(difference)
  if differences:
    sys.exit(1)
  print(f"{kills} kills: every array and the data's order are equal")


def compare(whole: Path, killed: Path) -> list[str]:
  """Compares two finished runs; returns a line for each difference."""
  differences = []
  for stage in ("autoencoder", "diffusion"):
    ours, theirs = _final(whole / stage), _final(killed / stage)
    for path, value in ours.items():
      if path not in theirs or not np.array_equal(value, theirs[path]):
        differences.append(f"{stage}: {path} differs")
    losses, again = _losses(whole, stage), _losses(killed, stage)
    if losses != again:
      differences.append(f"{stage}: the losses of the steps differ")
  return differences


def _command(out: Path, name: str) -> list[str]:
  run = [sys.executable, "-m", "diffmvr_jax.train", "--config", str(CONFIG)]
  return [
    *run,
    "--workdir",
    str(out / name),
    f"data.path={out / 'data'}",
    *SETTINGS,
  ]


def _environment(out: Path) -> dict[str, str]:
  # A killed run would else spend its life compiling.
  return os.environ | {
    "JAX_COMPILATION_CACHE_DIR": str((out / "compiled").absolute()),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }


def _finish(out: Path, name: str) -> None:
  run = subprocess.run(
    _command(out, name),
    env=_environment(out),
    stderr=subprocess.PIPE,
    text=True,
    check=False,
  )
  if run.returncode:
    said = run.stderr.strip().splitlines() or [f"code {run.returncode}"]
    raise InputError(f"{out / name}: {said[-1]}")


def _kill(out: Path, kills: int, rng: random.Random) -> int:
  """Starts the training run again and again, and kills it; counts the kills."""
  moments = (_after_a_save, _between_saves, _at_any_time)
  for number in range(1, kills + 1):
    process = subprocess.Popen(
      _command(out, "killed"),
      env=_environment(out),
      stderr=subprocess.DEVNULL,
      start_new_session=True,
    )
    (wait,) = rng.choices(moments, weights=(5, 3, 2))
    try:
      wait(process, out / "killed", rng)
      if process.poll() is not None:
        print("the run ended before it could be killed again")
        return number - 1
    finally:  # Ctrl-C does not reach a session of its own
      if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    print(f"kill {number}, checkpoints {_steps(out / 'killed')}", flush=True)
  return kills


def _after_a_save(
  process: subprocess.Popen, workdir: Path, rng: random.Random
) -> None:
  """Waits for a new checkpoint, and part of a step."""
  saved = _steps(workdir)
  while process.poll() is None and _steps(workdir) == saved:
    time.sleep(0.01)
  time.sleep(rng.uniform(0, 0.2))


def _between_saves(
  process: subprocess.Popen, workdir: Path, rng: random.Random
) -> None:
  """Waits for some steps, and part of one; a save may be going on."""
  left, steps = _logs(workdir), rng.randint(1, 14)
  while process.poll() is None and _made(workdir, left) < steps:
    time.sleep(0.01)
  time.sleep(rng.uniform(0, 0.2))


def _at_any_time(
  process: subprocess.Popen, workdir: Path, rng: random.Random
) -> None:
  """Waits a few seconds, which most of a start takes."""
  del process, workdir
  time.sleep(rng.uniform(0, 10))


def _made(workdir: Path, left: dict[str, list[str]]) -> int:
  """How many steps were made that no checkpoint had when this run began.

  Args:
    workdir: directory of the training run.
    left: the logs as the last kill left them; a new start cuts them back.
  """
  logs = _logs(workdir)
  if logs == left:
    return 0
  made = 0
  for stage, lines in logs.items():
    made += len(lines)
    for new, old in zip(lines, left[stage], strict=False):
      if new != old:
        break
      made -= 1
  return made


def _logs(workdir: Path) -> dict[str, list[str]]:
  paths = {s: workdir / f"{s}.jsonl" for s in ("autoencoder", "diffusion")}
  return {
    stage: path.read_text().splitlines() if path.exists() else []
    for stage, path in paths.items()
  }


def _steps(workdir: Path) -> dict[str, list[int]]:
  return {
    stage: sorted(
      int(p.name) for p in (workdir / stage).glob("*") if p.name.isdigit()
    )
    for stage in ("autoencoder", "diffusion")
  }


def _final(folder: Path) -> dict[str, np.ndarray]:
  """Every array and count of a stage's last checkpoint."""
  with ocp.CheckpointManager(folder.absolute()) as manager:
    step = manager.latest_step()
  last = folder.absolute() / str(step)
  with (
    warnings.catch_warnings(action="ignore"),  # about shardings, of no matter
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer,
  ):
    state = checkpointer.restore(last / "state")
  arrays = {
    jax.tree_util.keystr(path): np.asarray(value)
    for path, value in jax.tree.leaves_with_path(state)
  }
  position = json.loads((last / "data" / "metadata").read_text())
  return arrays | {"data": np.asarray(json.dumps(position, sort_keys=True))}


def _losses(workdir: Path, stage: str) -> list[tuple[int, float]]:
  lines = (workdir / f"{stage}.jsonl").read_text().splitlines()
  return [(r["step"], r["loss"]) for r in map(json.loads, lines)]


if __name__ == "__main__":
  run_command(main)
