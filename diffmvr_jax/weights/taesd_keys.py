"""Key tables of the files of TAESD's author, one for each half."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffmvr_jax.weights.key_table import Table, structural


def half_table(network: Mapping[str, Any], half: str) -> Table:
  """One of TAESD's own files; its decoder counts the clamp as layer 0."""
  shift = 1 if half == "decoder" else 0

  def rename(name: str) -> str:
    _, number, rest = name.split(".", 2)
    return f"{int(number) + shift}.{rest}"

  entries = structural(network[half], rename)
  return [replace(entry, path=f"{half}/{entry.path}") for entry in entries]
