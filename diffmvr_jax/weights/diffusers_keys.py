"""Key tables of diffusers' networks: where each parameter is in its files."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffmvr_jax.weights.key_table import Entry, Table, structural

_BRANCH = re.compile(r"(attn2[./]to_[kv])_(symmetric|past|present|text)")


def branch_of(entry: Entry) -> str | None:
  """The branch that a parameter of the U-Net belongs to alone; None: to all."""
  match = _BRANCH.search(entry.path)
  return match[2] if match else None


def unet(network: Mapping[str, Any]) -> Table:
  """The layout of diffusers' `UNet2DConditionModel`.

  Every branch is stored as its attn2. A learned α has no place, and no entry.
  """
  return [
    replace(
      entry,
      name=_BRANCH.sub(r"\1", entry.name),
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
