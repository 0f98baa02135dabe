"""Diffusers' inpainting pipeline, of a config's sizes, with random weights."""

import diffusers
import numpy as np
import torch
from PIL import Image

from diffmvr_jax.config import Config
from diffmvr_jax.inference.stream import SourceFrame


class Inpainting:
  """Fills the masked part of frames, like `CropRestorer`, guided by nothing.

  The mask and the masked frame are concatenated, as in Stable Diffusion's, and
  no guidance image is, whatever the config concatenates.

  Args:
    config: one with a KL autoencoder. If that has no norms, diffusers' has some
      all the same, since it has no other.
  """

  def __init__(self, config: Config):
    unet, vae = config.model.unet, config.model.autoencoder
    levels, attention = len(unet.block_channels), unet.attention
    self._width = unet.context_dim
    self._device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, config.model.dtype)
    with torch.device(self._device):  # draws weights there, which takes less
      autoencoder = diffusers.AutoencoderKL(
        block_out_channels=vae.block_channels,
        down_block_types=("DownEncoderBlock2D",) * len(vae.block_channels),
        up_block_types=("UpDecoderBlock2D",) * len(vae.block_channels),
        layers_per_block=vae.layers_per_block,
        latent_channels=vae.latent_channels,
        norm_num_groups=vae.norm_groups or unet.norm_groups,
        mid_block_add_attention=vae.mid_attention,
      )
      denoiser = diffusers.UNet2DConditionModel(
        in_channels=2 * vae.latent_channels + 1,
        out_channels=unet.out_channels,
        block_out_channels=unet.block_channels,
        down_block_types=tuple(
          "CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention
        ),
        up_block_types=tuple(
          "CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]
        ),
        layers_per_block=unet.layers_per_block,
        attention_head_dim=unet.heads,
        cross_attention_dim=unet.context_dim,
        norm_num_groups=unet.norm_groups,
        sample_size=config.data.image_size // 2 ** (levels - 1),
      )
    self._pipeline = diffusers.StableDiffusionInpaintPipeline(
      vae=autoencoder,
      text_encoder=None,
      tokenizer=None,
      unet=denoiser,
      scheduler=diffusers.DDIMScheduler(timestep_spacing="trailing"),
      safety_checker=None,
      feature_extractor=None,
      requires_safety_checker=False,
    ).to(self._device, dtype)
    self._pipeline.set_progress_bar_config(disable=True)
    self._dtype = dtype

  def __call__(self, frames: list[SourceFrame], steps: int) -> np.ndarray:
    """Restores the frames' crops, (frame, h, w, 3) in [0, 1].

    Args:
      frames: those that are occluded.
      steps: of DDIM.
    """
    crops = [f.record for f in frames if f.record is not None]
    with torch.inference_mode():
      return self._pipeline(
        prompt_embeds=torch.zeros(
          (len(crops), 77, self._width), dtype=self._dtype, device=self._device
        ),
        image=[Image.fromarray(crop.image) for crop in crops],
        mask_image=[Image.fromarray(255 * crop.mask) for crop in crops],
        height=crops[0].image.shape[0],
        width=crops[0].image.shape[1],
        num_inference_steps=steps,
        guidance_scale=1.0,
        output_type="np",
      ).images
