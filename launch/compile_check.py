r"""Compiles the true train step for a TPU slice, on a machine without one.

  pip install -e '.[tpu]'
  python -m launch.compile_check --config configs/sd15_512.py \
    --topology v5e:4x4 [--batch-per-chip 1] [KEY=VALUE …]

Prints what one chip needs and does in a step: memory, arithmetic, bytes moved
between chips by kind, and the least time that the chip's data sheet allows
for each of them. The compiler is that of the TPU, so the memory is what it
will be; the times are bounds, no measurements. A step that does not fit ends in
one line with what it needs. With `data.encoded=ANYTHING
data.flip=False` it is the step from encoded frames.
"""

import argparse
import dataclasses
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from diffmvr_jax.config import Config, MeshConfig, trained_networks
from diffmvr_jax.config_file import load_config
from diffmvr_jax.encode import encoded_shapes
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.training.flops import traced_flops
from diffmvr_jax.training.objectives import (
  diffusion_loss,
  encode_images,
  image_shapes,
  read_encoded,
)
from diffmvr_jax.training.optimizer import make_optimizer
from diffmvr_jax.training.sharding import AXES, axis_sizes, batch_sharding
from diffmvr_jax.training.step import init_state, make_update


@dataclasses.dataclass(frozen=True)
class Chip:
  """One chip, from Google's documentation of its TPUs.

  Attributes:
    tflops: dense bf16 peak, TFLOP/s.
    memory: HBM, GiB.
    bandwidth: of the HBM, GB/s.
    interconnect: to all other chips together, one way, GB/s.
  """

  tflops: float
  memory: float
  bandwidth: float
  interconnect: float


CHIPS = {
  "v5e": Chip(197, 16, 819, 200),
  "v5p": Chip(459, 95, 2765, 600),
  "v6e": Chip(918, 32, 1640, 448),
}
_SIZES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "u8": 1, "pred": 1, "f16": 2}
_COLLECTIVE = re.compile(
  r"= \(?(\w+\[[\d,]*\]).*? "
  r"(all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)"
  r"(?:-start)?\("
)


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
  kind = arguments.topology.partition(":")[0]
  if kind not in CHIPS:
    raise InputError(
      f"--topology {arguments.topology}: expected one of {', '.join(CHIPS)}, "
      "a colon, and the slice's shape"
    )
  config = load_config(arguments.config, arguments.overrides)
  mesh = slice_mesh(arguments.topology, config.mesh)
  batch = arguments.batch_per_chip * mesh.size
  try:
    program, flops = compile_step(config, mesh, batch)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise InputError(
      f"--batch-per-chip {arguments.batch_per_chip} does not fit "
      f"{arguments.topology}: {str(error).splitlines()[0]} Try fewer windows "
      "per chip, model.remat=full, or a larger mesh.fsdp"
    ) from error
  print(f"{arguments.config}, {arguments.topology}, batch {batch} windows\n")
  print("| one chip, one step | |\n|---|---:|")
  for name, value in report(program, flops, CHIPS[kind]).items():
    print(f"| {name} | {value} |")


def slice_mesh(topology: str, config: MeshConfig) -> Mesh:
  """A mesh over the chips of a slice that is not there.

  Raises:
    InputError: libtpu is not installed, or knows no such slice.
  """
  # Asking for the machine's own metadata would wait for a server in vain.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  # No chip is used, so other processes may have libtpu open as well.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  try:
    described = topologies.get_topology_desc(
      platform="tpu", topology_name=topology
    )
  except Exception as error:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    raise InputError(
      f"--topology {topology}: {lines[0]}; `pip install -e '.[tpu]'` brings "
      "libtpu, which knows the slices"
    ) from error
  sizes = axis_sizes(config, len(described.devices))
  devices = np.asarray(described.devices).reshape(sizes)
  return Mesh(devices, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def compile_step(config: Config, mesh: Mesh, batch: int) -> tuple[Any, float]:
  """Compiles one update of the diffusion stage for the mesh's devices.

  Returns:
    The compiled update, and its FLOPs on one of the devices.
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
  return traced.lower().compile(), traced_flops(traced, "tpu") / mesh.size


def report(program: Any, flops: float, chip: Chip) -> dict[str, str]:
  """What a compiled step with so many FLOPs needs of a chip, as rows."""
  memory, cost = program.memory_analysis(), program.cost_analysis() or {}
  arguments = memory.argument_size_in_bytes
  # The donated state is written over: it is an argument, not an output too.
  fresh = memory.output_size_in_bytes - memory.alias_size_in_bytes
  total = arguments + fresh + memory.temp_size_in_bytes
  moved = collective_bytes(program.as_text())
  seconds = {
    "arithmetic": flops / (chip.tflops * 1e12),
    "memory": cost.get("bytes accessed", math.nan) / (chip.bandwidth * 1e9),
    "interconnect": sum(moved.values()) / (chip.interconnect * 1e9),
  }
  bound = max(seconds.values())
  rows = {
    "arguments, GiB": f"{arguments / 2**30:.2f}",
    "temporaries, GiB": f"{memory.temp_size_in_bytes / 2**30:.2f}",
    "total, GiB": f"{total / 2**30:.2f}",
    "share of the memory": f"{total / 2**30 / chip.memory:.0%}",
    "TFLOP": f"{flops / 1e12:.3f}",
  }
  for kind, size in sorted(moved.items()):
    rows[f"{kind}, MiB"] = f"{size / 2**20:.1f}"
  for name, value in seconds.items():
    rows[f"least time by {name}, ms"] = f"{1e3 * value:.2f}"
  rows["most MFU by these bounds"] = f"{seconds['arithmetic'] / bound:.0%}"
  return rows


def collective_bytes(program: str) -> Counter[str]:
  """Bytes that each kind of collective yields on one chip, from HLO text.

  Example:
    >>> collective_bytes("%x = f32[2,8]{1,0} all-reduce(%y), channel_id=1")
    Counter({'all-reduce': 64})
  """
  found: Counter[str] = Counter()
  for shape, kind in _COLLECTIVE.findall(program):
    dtype, _, sizes = shape.partition("[")
    elements = math.prod(int(n) for n in sizes[:-1].split(",") if n)
    found[kind] += elements * _SIZES.get(dtype, 4)
  return found


if __name__ == "__main__":
  run_command(main)
