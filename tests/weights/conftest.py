"""A tiny Stable Diffusion in PyTorch, saved as its tools save it."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

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


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory) -> Path:
  """A pipeline's folder: 4-channel U-Net, sharded; autoencoder; CLIP."""
  folder = tmp_path_factory.mktemp("sd") / "pipeline"
  torch.manual_seed(0)
  unet = build_unet(4)
  unet.save_pretrained(folder / "unet", max_shard_size="60KB")
  randomized(
    AutoencoderKL(
      block_out_channels=(4, 8),
      down_block_types=["DownEncoderBlock2D"] * 2,
      up_block_types=["UpDecoderBlock2D"] * 2,
      layers_per_block=1,
      latent_channels=4,
      norm_num_groups=2,
    )
  ).save_pretrained(folder / "vae")
  randomized(
    CLIPVisionModelWithProjection(
      CLIPVisionConfig(
        image_size=32,
        patch_size=16,
        hidden_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        projection_dim=12,
      )
    )
  ).save_pretrained(folder / "image_encoder")
  (folder / "model_index.json").write_text("{}")
  return folder
