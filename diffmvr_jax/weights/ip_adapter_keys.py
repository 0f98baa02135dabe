"""Key table of IP-Adapter files: f_mlp, and a branch of the U-Net."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffmvr_jax.weights.diffusers_keys import branch_of
from diffmvr_jax.weights.key_table import Table, structural

_IMAGE_PROJECTION = {
  "guidance/linear_1/kernel": "proj.0.weight",
  "guidance/linear_1/bias": "proj.0.bias",
  "guidance/linear_2/kernel": "proj.2.weight",
  "guidance/linear_2/bias": "proj.2.bias",
  "guidance/norm/scale": "proj.3.weight",
  "guidance/norm/bias": "proj.3.bias",
}


def ip_adapter(params: Mapping[str, Any], branch: str) -> Table:
  """The table; paths of parameters begin with the network.

  Args:
    params: parameters, or their shapes, of `guidance` and `unet`.
    branch: the branch of the U-Net that the file is to hold.
  """
  table = [
    replace(entry, name=f"image_proj.{_IMAGE_PROJECTION[entry.path]}")
    for entry in structural({"guidance": params["guidance"]})
    if entry.path in _IMAGE_PROJECTION
  ]
  layers = cross_attention_layers(params["unet"])
  # The self-attention before each has the even number.
  numbers = {layer: 2 * i + 1 for i, layer in enumerate(layers)}
  for entry in structural({"unet": params["unet"]}):
    if branch_of(entry) == branch:
      layer, projection = entry.path.split("/to_")
      name = f"{numbers[layer]}.to_{projection[0]}_ip.weight"
      table.append(replace(entry, name=f"ip_adapter.{name}"))
  return table


def cross_attention_layers(unet: Mapping[str, Any]) -> Sequence[str]:
  """Paths of the cross-attention layers in the order of IP-Adapter files.

  That is the order in which PyTorch lists the modules: down, up, then middle.

  Args:
    unet: parameters, or their shapes, of the U-Net.
  """
  layers = {
    entry.path.split("/to_q")[0]
    for entry in structural({"unet": unet})
    if entry.path.endswith("attn2/to_q/kernel")
  }
  sides = ("unet/down_blocks", "unet/up_blocks", "unet/mid_block")
  return [
    layer
    for side in sides
    for layer in sorted(layers)
    if layer.startswith(side)
  ]
