"""Peak memory of import and export of the 860 M U-Net: `make peak-memory`.

Writes SD 1.5's U-Net with random weights as diffusers would, imports it,
exports it, and compares each command's peak resident memory with the model's
size in float32. Needs 12 GB of disk in --folder.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from diffmvr_jax.config import UNetConfig
from diffmvr_jax.weights import diffusers_keys
from diffmvr_jax.weights.files import write_safetensors
from tests.parity.test_unet import network_shapes

SETTINGS = ["model.unet.branches=('symmetric',)", "model.unet.alpha=(1.0,)"]


def write_unet(folder: Path) -> int:
  """Random weights in diffusers' layout; returns their bytes."""
  config = UNetConfig(branches=("symmetric",), alpha=(1.0,))
  table = diffusers_keys.unet(network_shapes(config))
  rng = np.random.default_rng(0)
  shapes = {entry.name: entry.stored_shape for entry in table}
  tensors = (
    (name, rng.standard_normal(shape, np.float32))
    for name, shape in shapes.items()
  )
  path = folder / "unet" / "diffusion_pytorch_model.safetensors"
  path.parent.mkdir(parents=True)
  write_safetensors(path, shapes, tensors)
  (folder / "model_index.json").write_text("{}")
  return sum(4 * int(np.prod(shape)) for shape in shapes.values())


def peak_of(arguments: list[str]) -> tuple[int, float]:
  """Runs the command; its peak resident bytes and seconds."""
  started = time.perf_counter()
  program = (
    "import resource, sys; from diffmvr_jax.convert import main; "
    "main(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, *arguments],
    check=True,
    capture_output=True,
    text=True,
  )
  kib = int(done.stdout.split()[-1])
  return kib * 1024, time.perf_counter() - started


def main() -> None:
  """Measures and prints one line for each command."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--folder", type=Path, required=True)
  folder = parser.parse_args().folder
  size = write_unet(folder / "sd")
  print(f"model: {size / 1e9:.2f} GB in float32; jax {jax.__version__}")
  commands = {
    "import": [
      *("import", str(folder / "sd"), "--out", str(folder / "run")),
      *("--config", "configs/sd15_512.py", "--set", *SETTINGS),
    ],
    "export": [*("export", str(folder / "run"), "--out", str(folder / "out"))],
  }
  failed = False
  for name, arguments in commands.items():
    peak, seconds = peak_of(arguments)
    failed |= peak > 1.3 * size
    print(
      f"{name}: peak {peak / 1e9:.2f} GB, {peak / size:.2f} × the model, "
      f"{seconds:.0f} s"
    )
  again = folder / "out" / "unet" / "diffusion_pytorch_model.safetensors"
  source = folder / "sd" / "unet" / "diffusion_pytorch_model.safetensors"
  same = again.read_bytes()[-size:] == source.read_bytes()[-size:]
  print(f"export holds the same bytes as the source: {same}")
  shutil.rmtree(folder)
  sys.exit(failed or not same)


if __name__ == "__main__":
  main()
