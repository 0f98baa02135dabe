"""The sidecar of an export: what stock layouts cannot hold of a model.

The U-Net's own file holds only the first branch, with its α folded into its
`to_v`. The sidecar has what such files fold or lack, and the configuration, so
that an import gives back the same bits.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diffmvr_jax.config import UNetConfig
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import read_json
from diffmvr_jax.weights.assemble import Match
from diffmvr_jax.weights.files import Tensor
from diffmvr_jax.weights.key_table import structural

SIDECAR = "diffmvr.safetensors"
SIDECAR_CONFIG = "diffmvr.json"


def read_config(folder: Path) -> dict[str, Any] | None:
  """The configuration that an export keeps; None if there is none."""
  path = folder / SIDECAR_CONFIG
  return read_json(path, "export it again") if path.is_file() else None


def unfolded(
  matches: list[Match],
  sidecar: Mapping[str, Tensor],
  *,
  unet: Mapping[str, Any],
  config: UNetConfig,
  path: Path,
) -> list[Match]:
  """Takes from the sidecar what it has, the rest from the U-Net's own file.

  Args:
    matches: parameters and tensors of the U-Net's own file.
    sidecar: the sidecar's tensors of the U-Net, by name.
    unet: shapes of the U-Net's parameters.
    config: configuration of the U-Net.
    path: the U-Net's folder, for errors.

  Raises:
    InputError: the sidecar is of another configuration, or the U-Net's file
      has changed since it was exported.
  """
  entries = structural({"unet": unet})
  unknown = sidecar.keys() - {entry.name for entry in entries}
  if unknown:
    raise InputError(
      f"{path}: its sidecar is of another config; unknown there: "
      f"{', '.join(sorted(unknown))}"
    )
  in_file = {match.entry.path: match for match in matches}
  chosen = []
  for entry in entries:
    name = entry.path.removeprefix("unet/")
    tensor = sidecar.get(entry.name)
    if tensor is not None:
      match = Match(entry=replace(entry, path=name), tensor=tensor)
      if name.endswith(f"to_v_{config.branches[0]}/kernel"):
        _refuse_changed(match, in_file[name], sidecar, config, path)
      chosen.append(match)
    elif name in in_file:
      chosen.append(in_file[name])
  return chosen


def _refuse_changed(
  exact: Match,
  folded: Match,
  sidecar: Mapping[str, Tensor],
  config: UNetConfig,
  path: Path,
) -> None:
  """Compares α times the sidecar's `to_v` with the file's."""
  alpha = np.float32(config.alpha[0])
  learned = exact.entry.name.rsplit(".", 2)[0] + ".alpha"
  if learned in sidecar:
    alpha = sidecar[learned].float32()[0]
  in_file = folded.tensor.load()
  expected = (alpha * exact.tensor.float32()).astype(in_file.dtype)
  if not np.array_equal(expected, in_file):
    raise InputError(
      f"{path}: changed since it was exported ({folded.entry.name}); to "
      "import it as plain Stable Diffusion, name unet/ itself"
    )
