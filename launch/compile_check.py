r"""Compiles the true train step for chips that this machine does not have.

  pip install -e '.[tpu]'    # or '.[cuda]'
  python -m launch.compile_check --config configs/sd15_512.py \
    --topology v5e:4x4 [--batch-per-chip 1] [KEY=VALUE …]

`v5e:4x4` is a slice of TPUs, `h100:8` a machine with GPUs, `h100:2x8` are two.
Prints what one chip needs and does in a step: memory, arithmetic, bytes moved
between chips by kind, and the least time that the chip's data sheet allows
for each of them. The compiler is that of the chip, so the memory is what it
will be, but for the workspaces that a GPU's libraries ask for; the times are
bounds, no measurements. A step that does not fit ends in one line with what it
needs. With `data.encoded=ANYTHING data.flip=False` it is the step from encoded
frames.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from jax.stages import Compiled, Traced

from diffmvr_jax.config import Config, MeshConfig, load_config, trained_networks
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.runtime.flops import traced_flops
from diffmvr_jax.training.encode_records import encoded_shapes
from diffmvr_jax.training.objectives import (
  diffusion_loss,
  encode_images,
  image_shapes,
  read_encoded,
)
from diffmvr_jax.training.optimizer import make_optimizer
from diffmvr_jax.training.sharding import AXES, axis_sizes, batch_sharding
from diffmvr_jax.training.step import init_state, make_update
from launch.chips import Chip, absent_devices, find_chip
from launch.traffic import collective_bytes, kernel_bytes


def main(argv: list[str]) -> None:
  """Compiles and prints a table in Markdown."""
  parser = argparse.ArgumentParser(
    prog="python -m launch.compile_check", description=__doc__
  )
  parser.add_argument("--config", type=Path, required=True)
  parser.add_argument("--topology", required=True, help="such as v5e:4x4")
  parser.add_argument("--batch-per-chip", type=int, default=1)
  parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
  arguments = parser.parse_args(argv)
  chip = find_chip(arguments.topology)
  config = load_config(arguments.config, arguments.overrides)
  mesh = absent_mesh(arguments.topology, config.mesh)
  batch = arguments.batch_per_chip * mesh.size
  try:
    traced, program = compile_step(config, mesh, batch)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise _too_large(arguments, str(error).splitlines()[0]) from error
  sizes = memory_sizes(program)
  if sizes["total"] > chip.memory:  # which a GPU's compiler does not mind
    need = f"It needs {sizes['total']:.1f} GiB of {chip.memory:.0f}."
    raise _too_large(arguments, need)
  print(f"{arguments.config}, {arguments.topology}, batch {batch} windows\n")
  print("| one chip, one step | |\n|---|---:|")
  for name, size in sizes.items():
    print(f"| {name}, GiB | {size:.2f} |")
  print(f"| share of the memory | {sizes['total'] / chip.memory:.0%} |")
  for name, value in work_rows(traced, program, chip, mesh.size).items():
    print(f"| {name} | {value} |")


def _too_large(arguments: argparse.Namespace, reason: str) -> InputError:
  return InputError(
    f"--batch-per-chip {arguments.batch_per_chip} does not fit "
    f"{arguments.topology}: {reason} Try fewer windows per chip, "
    "model.remat=full, or a larger mesh.fsdp"
  )


def absent_mesh(topology: str, config: MeshConfig) -> Mesh:
  """A mesh over chips that are not there.

  Raises:
    InputError: see `absent_devices`, or the mesh does not fit them.
  """
  devices = absent_devices(topology)
  sizes = axis_sizes(config, len(devices))
  grid = np.asarray(devices).reshape(sizes)
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def compile_step(
  config: Config, mesh: Mesh, batch: int
) -> tuple[Traced, Compiled]:
  """Traces and compiles an update of the diffusion stage for a mesh's devices.

  Args:
    config: of the run.
    mesh: the devices.
    batch: windows on all of them.
  """
  model = DiffMVR(config=config.model)
  stage, size = config.diffusion_stage, config.data.image_size
  optimizer = make_optimizer(stage.optimizer, stage.steps)
  shapes = jax.eval_shape(
    lambda params: init_state(params, trained_networks(config), optimizer),
    model.shapes(size),
  )
  encoded = config.data.encoded is not None
  encode = read_encoded(model) if encoded else encode_images(model)
  update = make_update(
    diffusion_loss(model, config, encode),
    optimizer,
    stage.optimizer,
    shapes,
    mesh,
  )
  lead, sharding = (batch, config.data.window), batch_sharding(mesh)
  inputs = encoded_shapes(config, lead) if encoded else image_shapes(size, lead)
  placed = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    for name, x in inputs.items()
  }
  seed = jax.eval_shape(lambda: jax.random.key(config.seed))
  traced = update.trace(shapes, placed, seed)
  return traced, traced.lower().compile()


def memory_sizes(program: Compiled) -> dict[str, float]:
  """What a program needs of a chip's memory, GiB."""
  sizes = program.memory_analysis()
  assert sizes is not None
  arguments = sizes.argument_size_in_bytes
  # The donated state is written over: it is an argument, not an output too.
  fresh = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
  total = arguments + fresh + sizes.temp_size_in_bytes
  return {
    "arguments": arguments / 2**30,
    "temporaries": sizes.temp_size_in_bytes / 2**30,
    "total": total / 2**30,
  }


def work_rows(
  traced: Traced, program: Compiled, chip: Chip, chips: int
) -> dict[str, str]:
  """What a program does on one of so many chips, and how long at least."""
  platform = "cuda" if chip.gpu else "tpu"
  useful = traced_flops(traced, platform) / chips
  done = traced_flops(traced, platform, recomputed=True) / chips
  text = program.as_text() or ""
  between_chips = collective_bytes(text)
  if chip.gpu:
    in_memory = kernel_bytes(text)
  else:
    in_memory = (program.cost_analysis() or {})["bytes accessed"]
  seconds = {
    "arithmetic": done / (chip.tflops * 1e12),
    "memory": in_memory / (chip.bandwidth * 1e9),
    "interconnect": between_chips.total() / (chip.interconnect * 1e9),
  }
  rows = {
    "TFLOP": f"{useful / 1e12:.3f}",
    "and computed again": f"{(done - useful) / 1e12:.3f}",
  }
  for kind, size in sorted(between_chips.items()):
    rows[f"{kind}, MiB"] = f"{size / 2**20:.1f}"
  for name, value in seconds.items():
    rows[f"least time by {name}, ms"] = f"{1e3 * value:.2f}"
  most = useful / (chip.tflops * 1e12) / max(seconds.values())
  rows["most MFU by these bounds"] = f"{most:.0%}"
  return rows


if __name__ == "__main__":
  run_command(main)
