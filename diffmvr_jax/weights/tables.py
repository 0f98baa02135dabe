"""Key tables: where each parameter is in each layout of PyTorch weights.

A table is a list of `Entry`, one per parameter of a network. Since parameter
paths follow diffusers, its table is structural: numbers become list indices,
`kernel` and `scale` become `weight`. The other layouts rename diffusers'
names. How values are stored follows from the parameter alone:

  4-d kernel   HWIO here, OIHW there
  2-d kernel   (in, out) here, (out, in) there; also (out, in, 1, 1)
  others       as they are
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
BRANCH = re.compile(r"(attn2[./]to_[kv])_(symmetric|past|present|text)")


@dataclass(frozen=True, kw_only=True)
class Entry:
  """One parameter and the tensor that it is stored as.

  Attributes:
    path: of the parameter in its network, joined by "/".
    shape: of the parameter.
    name: of the tensor.
    aliases: names that older files have instead.
    as_conv: a 2-d kernel is written as a 1×1 convolution's.
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
    rename: applied to each structural name.

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


def unet(network: Mapping[str, Any]) -> Table:
  """The layout of diffusers' `UNet2DConditionModel`.

  Every branch is stored as its attn2. A learned α has no place, and no entry.
  """
  return [
    replace(
      entry,
      name=BRANCH.sub(r"\1", entry.name),
      as_conv=bool(re.search(r"proj_(in|out)\.weight$", entry.name)),
    )
    for entry in structural(network)
    if not entry.path.endswith("/alpha")
  ]


def autoencoder(network: Mapping[str, Any]) -> Table:
  """The layout of diffusers' `AutoencoderKL`, or its `AutoencoderTiny`."""
  old = {
    "to_q": "query",
    "to_k": "key",
    "to_v": "value",
    "to_out.0": "proj_attn",
  }

  def with_alias(entry: Entry) -> Entry:
    for new_name, old_name in old.items():
      if f".{new_name}." in entry.name:
        alias = entry.name.replace(f".{new_name}.", f".{old_name}.")
        return replace(entry, aliases=(alias,))
    return entry

  return [with_alias(entry) for entry in structural(network)]


def clip_vision(network: Mapping[str, Any]) -> Table:
  """The layout of transformers' `CLIPVisionModelWithProjection`."""

  def rename(name: str) -> str:
    if name.startswith("visual_projection"):
      return name
    name = re.sub(
      r"^(patch|position)_embedding(\.weight)?$",
      r"embeddings.\1_embedding.weight",
      name,
    )
    name = re.sub(r"^class_embedding$", "embeddings.class_embedding", name)
    return "vision_model." + _clip_layers(name)

  return structural(network, rename)


def clip_text(network: Mapping[str, Any]) -> Table:
  """The layout of transformers' `CLIPTextModel`, of version 5 or older."""

  def rename(name: str) -> str:
    name = re.sub(
      r"^(token|position)_embedding$", r"embeddings.\1_embedding.weight", name
    )
    return _clip_layers(name)

  return [
    replace(entry, aliases=(f"text_model.{entry.name}",))
    for entry in structural(network, rename)
  ]


def _clip_layers(name: str) -> str:
  name = re.sub(r"^layers\.", "encoder.layers.", name)
  name = re.sub(r"\.(q|k|v|out)_proj\.", r".self_attn.\1_proj.", name)
  return re.sub(r"\.(fc[12])\.", r".mlp.\1.", name)


def taesd_half(network: Mapping[str, Any], half: str) -> Table:
  """One of TAESD's own files; its decoder counts the clamp as layer 0."""
  shift = 1 if half == "decoder" else 0

  def rename(name: str) -> str:
    _, number, rest = name.split(".", 2)
    return f"{int(number) + shift}.{rest}"

  entries = structural(network[half], rename)
  return [replace(entry, path=f"{half}/{entry.path}") for entry in entries]
