"""Key tables: where each parameter is in a layout of PyTorch weights.

A table is a list of `Entry`, one per parameter of a network. Since parameter
paths follow diffusers, its names follow from them: numbers become indices of
lists, `kernel` and `scale` become `weight`. Other layouts, each in a module of
its own, rename these. How values are stored follows from the parameter alone:

  4-d kernel   HWIO here, OIHW there
  2-d kernel   (in, out) here, (out, in) there; also (out, in, 1, 1)
  others       as they are

The tables are in `diffusers_keys`, `clip_keys`, `ldm_keys`, `taesd_keys` and
`ip_adapter_keys`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

# Modules that PyTorch keeps in lists, so that `resnets_0` is `resnets.0`.
_LISTS = re.compile(
  r"^(down_blocks|up_blocks|resnets|attentions|transformer_blocks|downsamplers"
  r"|upsamplers|net|to_out|layers|conv|pool)_(\d+)(?:_(\w+))?$"
)
_LEAVES = {"kernel": "weight", "scale": "weight"}


@dataclass(frozen=True, kw_only=True)
class Entry:
  """One parameter and the tensor that it is stored as.

  Attributes:
    path: path of the parameter in its network, joined by "/".
    shape: shape of the parameter.
    name: name of the tensor.
    aliases: names that the tensor has in older files.
    as_conv: whether a 2-d kernel is written as that of a 1×1 convolution.
  """

  path: str
  shape: tuple[int, ...]
  name: str
  aliases: tuple[str, ...] = ()
  as_conv: bool = False

  @property
  def stored_shape(self) -> tuple[int, ...]:
    """Shape of the tensor as it is written."""
    if self._is_kernel and len(self.shape) == 4:
      height, width, inputs, outputs = self.shape
      return (outputs, inputs, height, width)
    if self._is_kernel:
      stored = self.shape[::-1]
      return (*stored, 1, 1) if self.as_conv else stored
    return self.shape

  def accepts(self, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape can be read."""
    if self._is_kernel and len(self.shape) == 2 and shape[2:] == (1, 1):
      shape = shape[:2]
      return shape == self.shape[::-1]
    return shape == replace(self, as_conv=False).stored_shape

  def to_param(self, tensor: np.ndarray) -> np.ndarray:
    """The parameter that a tensor holds; undoes `to_tensor`."""
    if self._is_kernel and len(self.shape) == 4:
      return tensor.transpose(2, 3, 1, 0)
    if self._is_kernel:
      return tensor.reshape(tensor.shape[:2]).T
    return tensor

  def to_tensor(self, param: np.ndarray) -> np.ndarray:
    """The tensor that holds a parameter; undoes `to_param`."""
    if self._is_kernel and len(self.shape) == 4:
      return param.transpose(3, 2, 0, 1)
    if self._is_kernel:
      return param.T.reshape(self.stored_shape)
    return param

  @property
  def _is_kernel(self) -> bool:
    return self.path.endswith("kernel")


Table = list[Entry]


def structural(
  network: Mapping[str, Any], rename: Callable[[str], str] = lambda name: name
) -> Table:
  """The table that follows from the parameter paths.

  Args:
    network: parameters, or their shapes, of one network.
    rename: is applied to each name.

  Example:
    >>> leaf = jax.ShapeDtypeStruct((3, 3, 4, 8), "float32")
    >>> structural({"resnets_0": {"conv1": {"kernel": leaf}}})[0].name
    'resnets.0.conv1.weight'
  """
  table = []
  for keys, leaf in jax.tree.leaves_with_path(network):
    parts = [str(key.key) for key in keys]
    names = [_LISTS.sub(_list_item, part) for part in parts[:-1]]
    names.append(_LEAVES.get(parts[-1], parts[-1]))
    table.append(
      Entry(
        path="/".join(parts),
        shape=tuple(leaf.shape),
        name=rename(".".join(names)),
      )
    )
  return table


def _list_item(match: re.Match[str]) -> str:
  name, number, rest = match[1], match[2], match[3]
  return f"{name}.{number}.{rest}" if rest else f"{name}.{number}"
