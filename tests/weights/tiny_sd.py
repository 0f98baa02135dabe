"""A tiny Stable Diffusion in PyTorch and the configuration that fits it."""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

CONFIG = Path(__file__).with_name("tiny_sd_config.py")


def randomized(module: torch.nn.Module) -> torch.nn.Module:
  with torch.no_grad():
    for parameter in module.parameters():
      parameter += 0.1 * torch.randn_like(parameter)
  return module.eval().requires_grad_(False)


def build_unet(in_channels: int) -> UNet2DConditionModel:
  return randomized(
    UNet2DConditionModel(
      in_channels=in_channels,
      out_channels=4,
      block_out_channels=(8, 16),
      down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
      up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
      layers_per_block=1,
      cross_attention_dim=24,
      attention_head_dim=2,
      norm_num_groups=4,
    )
  )
