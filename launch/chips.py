"""The chips that a program is compiled for on a machine without any."""

import dataclasses
import os
from typing import Any

import jax
from jax.experimental import topologies

from diffmvr_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """One chip, from its maker's documentation.

  Attributes:
    tflops: highest dense bf16 rate, TFLOP/s.
    memory: size of its HBM, GiB.
    bandwidth: rate of its HBM, GB/s.
    interconnect: rate to all other chips of the slice or machine together,
      one way, GB/s.
    gpu: whether it is a GPU, not a TPU.
  """

  tflops: float
  memory: float
  bandwidth: float
  interconnect: float
  gpu: bool = False


CHIPS = {
  "v5e": Chip(tflops=197, memory=16, bandwidth=819, interconnect=200),
  "v5p": Chip(tflops=459, memory=95, bandwidth=2765, interconnect=600),
  "v6e": Chip(tflops=918, memory=32, bandwidth=1640, interconnect=448),
  "h100": Chip(
    tflops=989, memory=79, bandwidth=3350, interconnect=450, gpu=True
  ),
  "h200": Chip(
    tflops=989, memory=140, bandwidth=4800, interconnect=450, gpu=True
  ),
}

# What XLA wants to know of a GPU of the Hopper generation that is not there.
_HOPPER = """
gpu_device_info {{
  cuda_compute_capability {{
    major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES
  }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  l2_cache_size: 52428800
  memory_bandwidth: {bandwidth}
  device_memory_size: {memory}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
runtime_version {{ major: 13 minor: 0 }}
device_description_str: "NVIDIA {name}"
"""


def find_chip(topology: str) -> Chip:
  """The chip of a slice such as `v5e:4x4`, or of machines such as `h100:8`.

  Raises:
    InputError: there is none of that name.

  Example:
    >>> find_chip("v5e:4x4").memory
    16
  """
  name = topology.partition(":")[0]
  if name not in CHIPS:
    raise InputError(
      f"--topology {topology}: expected one of {', '.join(CHIPS)}, a colon, "
      "and the slice's shape, or MACHINESxGPUS"
    )
  return CHIPS[name]


def absent_devices(topology: str) -> list[Any]:
  """Devices to compile for, which cannot run anything.

  Raises:
    InputError: the compiler is not installed, or knows no such slice.
  """
  describe = _gpus if find_chip(topology).gpu else _slice
  try:
    return list(describe(topology).devices)
  except Exception as error:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    raise InputError(
      f"--topology {topology}: {lines[0]}; the compiler comes with "
      "`pip install -e '.[tpu]'` or `'.[cuda]'`"
    ) from error


def _slice(topology: str) -> topologies.TopologyDescription:
  # Asking for the machine's own metadata would wait for a server in vain.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  # No chip is used, so other processes may have libtpu open as well.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  return topologies.get_topology_desc(platform="tpu", topology_name=topology)


def _gpus(topology: str) -> topologies.TopologyDescription:
  # JAX would look for GPUs otherwise, and say that there are none.
  jax.config.update("jax_platforms", "cpu")
  name, _, shape = topology.partition(":")
  machines, _, each = shape.rpartition("x")
  chip = CHIPS[name]
  target = _HOPPER.format(
    name=name.upper(),
    bandwidth=int(chip.bandwidth * 1e9),
    memory=int(chip.memory * 2**30),
  )
  return topologies.get_topology_desc(
    platform="cuda",
    topology_name=name,
    target_config=target,
    topology=f"1x{int(machines or 1)}x{int(each)}",
  )
