r"""Compiles the true train step for chips that this machine does not have.

  pip install -e '.[tpu]'    # or '.[cuda]'
  python -m launch.compile_check --config configs/sd15_512.py \
    --topology v5e:4x4 [--batch-per-chip 1] [KEY=VALUE …]

`v5e:4x4` is a slice of TPUs, `h100:8` a machine with GPUs, `h100:2x8` are two.
It prints what one chip needs and does in a step: memory, arithmetic, bytes
moved between chips by kind, and the least time that the chip's data sheet
allows for each of them. The compiler is the chip's own, so the memory is what
the chip will need, except for the workspaces of a GPU's libraries. The times
are bounds, not measurements. If a step does not fit, one line says what it
needs. With `data.encoded=ANYTHING data.flip=False` the step reads encoded
frames.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Compiled, Traced

from diffmvr_jax.command_line.arguments import ArgumentParser, whole
from diffmvr_jax.config import Config, MeshConfig, has_denoiser, load_config
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.runtime.flops import traced_flops
from diffmvr_jax.runtime.mesh import AXES, AXIS_TYPES
from diffmvr_jax.training.assemble import Step, assemble, diffusion_stage
from diffmvr_jax.training.inputs import expected_shapes
from diffmvr_jax.training.sharding import axis_sizes
from launch.chips import Chip, absent_devices, find_chip
from launch.traffic import collective_bytes, kernel_bytes


def main(argv: list[str]) -> None:
  """Compiles and prints a table in Markdown."""
  parser = ArgumentParser(
    prog="python -m launch.compile_check", description=__doc__
  )
  parser.add_argument("--config", type=Path, required=True)
  parser.add_argument("--topology", required=True, help="such as v5e:4x4")
  parser.add_argument("--batch-per-chip", type=whole(1, 2**20), default=1)
  parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
  arguments = parser.parse_args(argv)
  chip = find_chip(arguments.topology)
  config = load_config(arguments.config, arguments.overrides)
  mesh = absent_mesh(arguments.topology, config.mesh)
  batch = arguments.batch_per_chip * mesh.size
  try:
    traced = diffusion_step(config, mesh, batch).trace()
    program = traced.lower().compile()
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
  return Mesh(grid, AXES, axis_types=AXIS_TYPES)


def diffusion_step(config: Config, mesh: Mesh, batch: int) -> Step:
  """The diffusion stage's step, as the train loop would compile it.

  Args:
    config: configuration of the run.
    mesh: the devices.
    batch: number of windows on all devices together.

  Raises:
    InputError: the configuration has no diffusion stage.
  """
  if not has_denoiser(config):
    raise InputError("diffusion_stage.steps=0: there is no step to compile")
  encoded = config.data.encoded is not None
  stage = dataclasses.replace(
    diffusion_stage(config, encoded=encoded), batch_size=batch
  )
  networks = DiffMVR.of(config).shapes(config.data.image_size)
  shapes = expected_shapes(config, batch, encoded=encoded)
  return assemble(stage, networks, shapes, mesh)


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
  """What a program does on one of `chips` chips, and how long it must take."""
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
  highest = useful / (chip.tflops * 1e12) / max(seconds.values())
  rows["most MFU by these bounds"] = f"{highest:.0%}"
  return rows


if __name__ == "__main__":
  run_command(main)
