"""Key tables of latent diffusion's single files, from those of diffusers.

The original code numbers the U-Net's blocks in one list going down and one
going up, and calls the autoencoder's levels `down.i` and `up.i`, counted from
the image on both sides.
"""

import re
from dataclasses import replace

from diffmvr_jax.weights.key_table import Table

UNET_PREFIX = "model.diffusion_model."
AUTOENCODER_PREFIX = "first_stage_model."

_RESNET = {
  "norm1": "in_layers.0",
  "conv1": "in_layers.2",
  "time_emb_proj": "emb_layers.1",
  "norm2": "out_layers.0",
  "conv2": "out_layers.3",
  "conv_shortcut": "skip_connection",
}
_ENDS = {
  "time_embedding.linear_1": "time_embed.0",
  "time_embedding.linear_2": "time_embed.2",
  "conv_in": "input_blocks.0.0",
  "conv_norm_out": "out.0",
  "conv_out": "out.2",
}
_MID = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}


def unet(table: Table, layers_per_block: int) -> Table:
  """Renames a table of diffusers' U-Net.

  Args:
    table: what `diffusers_keys.unet` gives.
    layers_per_block: number of ResNet blocks per level going down.
  """
  attended = {
    match[1]
    for entry in table
    if (match := re.match(r"(up_blocks\.\d+)\.attentions", entry.name))
  }

  def rename(name: str) -> str:
    module, leaf = name.rsplit(".", 1)
    if module in _ENDS:
      return f"{UNET_PREFIX}{_ENDS[module]}.{leaf}"
    return f"{UNET_PREFIX}{_block(module, layers_per_block, attended)}.{leaf}"

  return [replace(entry, name=rename(entry.name)) for entry in table]


def _block(module: str, layers: int, attended: set[str]) -> str:
  if module.startswith("mid_block"):
    _, kind, number, rest = module.split(".", 3)
    place = f"middle_block.{_MID[f'{kind}.{number}']}"
    return f"{place}.{_inner(kind, rest)}"
  side, level, kind, number, rest = module.split(".", 4)
  down = side == "down_blocks"
  # A level has its layers, then a change of resolution that going down is an
  # entry of the list, and going up the last part of the layer before it.
  first = int(level) * (layers + 1) + (1 if down else 0)
  if kind == "downsamplers":
    return f"input_blocks.{first + layers}.0.op"
  if kind == "upsamplers":
    part = 2 if f"{side}.{level}" in attended else 1
    return f"output_blocks.{first + layers}.{part}.conv"
  part = 0 if kind == "resnets" else 1
  blocks = "input_blocks" if down else "output_blocks"
  return f"{blocks}.{first + int(number)}.{part}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
  return _RESNET[rest] if kind == "resnets" else rest


_ATTENTION = {
  "group_norm": "norm",
  "to_q": "q",
  "to_k": "k",
  "to_v": "v",
  "to_out.0": "proj_out",
}


def autoencoder(table: Table, levels: int) -> Table:
  """Renames a table of diffusers' `AutoencoderKL` with this many levels."""

  def level(match: re.Match[str]) -> str:
    side, number = match[1], int(match[2])
    return f"{side}.{number if side == 'down' else levels - 1 - number}"

  def rename(name: str) -> str:
    attention = re.fullmatch(r"(.+)\.attentions\.0\.(.+)\.(\w+)", name)
    if attention:
      place, part, leaf = attention.groups()
      place = place.replace("mid_block", "mid.attn_1")
      return f"{AUTOENCODER_PREFIX}{place}.{_ATTENTION[part]}.{leaf}"
    name = re.sub(r"(down|up)_blocks\.(\d+)", level, name)
    name = re.sub(
      r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name
    )
    name = re.sub(r"\.resnets\.", ".block.", name)
    name = re.sub(r"\.(down|up)samplers\.0\.", r".\1sample.", name)
    name = name.replace("conv_shortcut", "nin_shortcut")
    return AUTOENCODER_PREFIX + name.replace("conv_norm_out", "norm_out")

  return [
    replace(
      entry,
      name=rename(entry.name),
      aliases=(),
      as_conv=".attentions." in entry.name and entry.path.endswith("kernel"),
    )
    for entry in table
  ]
