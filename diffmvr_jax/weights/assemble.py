"""From named tensors to parameters: check every key first, then read."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffmvr_jax.errors import InputError
from diffmvr_jax.weights.files import Tensor
from diffmvr_jax.weights.key_table import Entry, Table


@dataclass(kw_only=True)
class Mismatch:
  """What is wrong with a file's keys, by network; all of it, not the first."""

  missing: list[str] = field(default_factory=list)
  unknown: list[str] = field(default_factory=list)
  misshapen: list[str] = field(default_factory=list)

  def __bool__(self) -> bool:
    return bool(self.missing or self.unknown or self.misshapen)

  def __str__(self) -> str:
    lines = []
    for kind in ("missing", "unknown", "misshapen"):
      names = getattr(self, kind)
      if names:
        lines.append(f"{len(names)} {kind}:")
        lines += [f"  {name}" for name in names]
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Match:
  """A parameter and the tensor to read it from.

  `padding` zero input channels follow those that the tensor has.
  """

  entry: Entry
  tensor: Tensor
  padding: int = 0

  def read(self) -> np.ndarray:
    """The parameter, float32."""
    values = self.tensor.float32()
    if self.padding:
      values = np.pad(values, ((0, 0), (0, self.padding), (0, 0), (0, 0)))
    return np.asarray(self.entry.to_param(values), order="C")


def match(
  table: Table,
  tensors: Mapping[str, Tensor],
  *,
  narrower: Mapping[str, Collection[int]] | None = None,
) -> list[Match]:
  """Finds the tensor of every parameter, without reading any.

  Args:
    table: the network's key table in the file's layout.
    tensors: the file's tensors that belong to the network.
    narrower: by parameter path, the numbers of input channels that a narrower
      tensor may have; the others start from zero.

  Raises:
    InputError: keys are missing, unknown or misshapen; every one is listed.
  """
  wrong, matches, used = Mismatch(), [], set()
  for entry in table:
    names = (entry.name, *entry.aliases)
    name = next((name for name in names if name in tensors), None)
    if name is None:
      wrong.missing.append(f"{entry.name} {entry.stored_shape}")
      continue
    used.add(name)
    tensor = tensors[name]
    padding = _padding(entry, tensor, (narrower or {}).get(entry.path, ()))
    if padding is None:
      wrong.misshapen.append(
        f"{name}: {tensor.shape} in the file, {entry.stored_shape} expected"
      )
    else:
      matches.append(Match(entry=entry, tensor=tensor, padding=padding))
  wrong.unknown += sorted(
    f"{name} {tensors[name].shape}" for name in tensors.keys() - used
  )
  if wrong:
    # Branches share tensors, so names can repeat.
    wrong.missing = list(dict.fromkeys(wrong.missing))
    wrong.misshapen = list(dict.fromkeys(wrong.misshapen))
    file = next(iter(tensors.values())).file if tensors else "the source"
    raise InputError(f"{file}: does not fit the configured network\n{wrong}")
  return matches


def _padding(
  entry: Entry, tensor: Tensor, narrower: Collection[int]
) -> int | None:
  """Input channels to add, None where the shape does not fit."""
  if entry.accepts(tensor.shape):
    return 0
  if not narrower:  # and it need not be a convolution
    return None
  outputs, inputs, *size = entry.stored_shape
  for channels in narrower:
    if tensor.shape == (outputs, channels, *size) and channels < inputs:
      return inputs - channels
  return None


def nested(params: Iterator[tuple[str, Any]]) -> dict[str, Any]:
  """A tree from paths joined by "/".

  Example:
    >>> nested(iter([("conv/kernel", 1), ("conv/bias", 2)]))
    {'conv': {'kernel': 1, 'bias': 2}}
  """
  tree: dict[str, Any] = {}
  for path, value in params:
    *parents, leaf = path.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[leaf] = value
  return tree


def without(
  tensors: Mapping[str, Tensor], prefixes: Collection[str]
) -> dict[str, Tensor]:
  """The tensors whose names begin with none of the prefixes."""
  return {
    name: tensor
    for name, tensor in tensors.items()
    if not name.startswith(tuple(prefixes))
  }
