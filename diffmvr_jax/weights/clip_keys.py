"""Key tables of CLIP's image and text encoders, as transformers stores them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffmvr_jax.weights.key_table import Table, structural


def vision(network: Mapping[str, Any]) -> Table:
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
    return "vision_model." + _layers(name)

  return structural(network, rename)


def text(network: Mapping[str, Any]) -> Table:
  """The layout of transformers' `CLIPTextModel`, of version 5 or older."""

  def rename(name: str) -> str:
    name = re.sub(
      r"^(token|position)_embedding$", r"embeddings.\1_embedding.weight", name
    )
    return _layers(name)

  return [
    replace(entry, aliases=(f"text_model.{entry.name}",))
    for entry in structural(network, rename)
  ]


def _layers(name: str) -> str:
  name = re.sub(r"^layers\.", "encoder.layers.", name)
  name = re.sub(r"\.(q|k|v|out)_proj\.", r".self_attn.\1_proj.", name)
  return re.sub(r"\.(fc[12])\.", r".mlp.\1.", name)
