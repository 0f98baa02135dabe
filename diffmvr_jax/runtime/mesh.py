"""The device mesh as the networks see it: its axes, and frames spread over it.

`data` and `fsdp` split a batch by windows, `frame` splits each window by
frames; `fsdp` also splits parameters (`diffmvr_jax.training.sharding`).
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Shaped

DATA, FRAME, FSDP = "data", "frame", "fsdp"
AXES = (DATA, FRAME, FSDP)
WINDOW_AXES = (DATA, FSDP)
# Auto: the compiler lays activations out. Explicit, the default, would want
# a sharding at every reshape of the networks.
AXIS_TYPES = (AxisType.Auto,) * len(AXES)


def spread_over(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
  """Tells a function that is compiled of the mesh, for `spread_frames`."""

  @wraps(function)
  def spread(*inputs: Any) -> Any:
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return function(*inputs)

  return spread


def spread_frames(x: Shaped[Array, "n *s"]) -> Shaped[Array, "n *s"]:
  """Gives every device its share of frames, if a mesh splits windows.

  Left alone, the compiler would compute all frames of several windows on each.
  """
  mesh = jax.sharding.get_abstract_mesh()
  # A part of an accumulated batch can be too small for all devices.
  if mesh.shape.get(FRAME, 1) == 1 or x.shape[0] % mesh.size:
    return x
  return jax.lax.with_sharding_constraint(x, P((*WINDOW_AXES, FRAME)))
