"""A tiny Stable Diffusion in PyTorch, saved as its tools save it."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.weights.tiny_sd import build_unet, randomized


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
