"""Makes the device mesh, and says where batches and parameters live on it."""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from diffmvr_jax.config import MeshConfig
from diffmvr_jax.errors import InputError
from diffmvr_jax.runtime.mesh import AXES, AXIS_TYPES, FRAME, FSDP, WINDOW_AXES

# Smaller parameters are replicated: gathering them costs more than it saves.
MIN_SHARDED_BYTES = 4 * 2**20


def axis_sizes(config: MeshConfig, devices: int) -> tuple[int, ...]:
  """The mesh's size along each of `AXES`; −1 takes the devices that remain.

  Raises:
    InputError: the sizes do not multiply to the number of devices.

  Example:
    >>> axis_sizes(MeshConfig(frame=2), 8)
    (4, 2, 1)
  """
  sizes = [config.data, config.frame, config.fsdp]
  known = math.prod(size for size in sizes if size != -1)
  if sizes.count(-1) > 1 or devices % known:
    raise InputError(f"mesh {sizes} does not fit {devices} devices")
  sizes = [devices // known if size == -1 else size for size in sizes]
  if math.prod(sizes) != devices:
    raise InputError(f"mesh {sizes} does not fit {devices} devices")
  return tuple(sizes)


def make_mesh(config: MeshConfig) -> Mesh:
  """A mesh with axes `data`, `frame` and `fsdp` over all devices.

  Raises:
    InputError: the sizes do not multiply to the number of devices.

  Example:
    >>> make_mesh(MeshConfig()).axis_names
    ('data', 'frame', 'fsdp')
  """
  sizes = axis_sizes(config, jax.device_count())
  return jax.make_mesh(sizes, AXES, axis_types=AXIS_TYPES)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Windows over `data` and `fsdp`, their frames over `frame`."""
  return NamedSharding(mesh, P(WINDOW_AXES, FRAME))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
  """The whole array on every device."""
  return NamedSharding(mesh, P())


def local_part(
  mesh: Mesh, windows: int, frames: int
) -> tuple[list[int], list[int]]:
  """Which windows of a batch, and which of their frames, this process feeds.

  Args:
    mesh: the devices.
    windows: number of windows in the global batch.
    frames: number of frames in a window.
  """
  indices = batch_sharding(mesh).addressable_devices_indices_map(
    (windows, frames)
  )
  rows: set[int] = set()
  columns: set[int] = set()
  for index in indices.values():
    assert index is not None
    rows.update(range(*index[0].indices(windows)))
    columns.update(range(*index[1].indices(frames)))
  return sorted(rows), sorted(columns)


def shard_batch(
  batch: dict[str, np.ndarray], mesh: Mesh, windows: int
) -> dict[str, Any]:
  """Places this process's windows of a batch on its devices.

  Args:
    batch: arrays (window, frame, …), whole windows.
    mesh: the devices.
    windows: number of windows in the global batch.
  """
  sharding = batch_sharding(mesh)
  frames = next(iter(batch.values())).shape[1]
  _, columns = local_part(mesh, windows, frames)
  return {
    name: jax.make_array_from_process_local_data(
      sharding, value[:, columns], (windows, frames, *value.shape[2:])
    )
    for name, value in batch.items()
  }


def placed(shapes: Any, shardings: Any) -> Any:
  """A tree of shapes that have shardings.

  Args:
    shapes: tree of `jax.ShapeDtypeStruct`s.
    shardings: the same tree of shardings, or one sharding for all.
  """
  if isinstance(shardings, NamedSharding):
    shardings = jax.tree.map(lambda _: shardings, shapes)
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )


def state_shardings(state: Any, mesh: Mesh | AbstractMesh) -> Any:
  """Shards large leaves over `fsdp`, along their largest divisible axis.

  Args:
    state: a tree of arrays or of `jax.ShapeDtypeStruct`s.
    mesh: the devices.

  Returns:
    The same tree, of `NamedSharding`s.
  """
  parts = mesh.shape[FSDP]

  def sharding(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
    size = math.prod(leaf.shape) * leaf.dtype.itemsize
    axes = [i for i, n in enumerate(leaf.shape) if n % parts == 0]
    if parts == 1 or size < MIN_SHARDED_BYTES or not axes:
      return replicated(mesh)
    largest = max(axes, key=lambda i: leaf.shape[i])
    return NamedSharding(mesh, P(*[None] * largest, FSDP))

  return jax.tree.map(sharding, state)
