"""The JSON files of an exported folder, for diffusers and transformers."""

import json
from pathlib import Path
from typing import Any

from diffmvr_jax.checkpoints.model import StoredModel
from diffmvr_jax.config import Config
from diffmvr_jax.files import make_folder, write_atomically
from diffmvr_jax.models.clip import CLIP_MEAN, CLIP_STD

# The files are written for this version of diffusers, and tested with it.
_VERSION = {"_diffusers_version": "0.42.1"}
_COMPONENTS = {
  "unet": ["diffusers", "UNet2DConditionModel"],
  "vae": ["diffusers", "AutoencoderKL"],
  "scheduler": ["diffusers", "DDIMScheduler"],
  "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
  "feature_extractor": ["transformers", "CLIPImageProcessor"],
}


def write_configs(model: StoredModel, out: Path) -> None:
  """Writes `model_index.json` and the configuration of each component."""
  config, files = model.config, {}
  files["scheduler/scheduler_config.json"] = scheduler(config)
  if "unet" in model.shapes:
    files["unet/config.json"] = unet(config)
  if "autoencoder" in model.shapes:
    # It may have been measured, and not be in the configuration.
    (factor,) = model.stream(["scaling_factor"])
    files["vae/config.json"] = autoencoder(
      config,
      float(str(factor[()])),  # the shortest text of a float32
    )
  if "clip" in model.shapes:
    files["image_encoder/config.json"] = clip(config)
    files["feature_extractor/preprocessor_config.json"] = preprocessor(config)
  present = {name.split("/")[0] for name in files}
  concat = config.model.mask_conditioning == "concat"
  kind = (
    "StableDiffusionInpaintPipeline" if concat else "StableDiffusionPipeline"
  )
  components = dict(_COMPONENTS)
  if config.model.autoencoder.family == "tiny":
    components["vae"] = ["diffusers", "AutoencoderTiny"]
  index: dict[str, Any] = {"_class_name": kind, **_VERSION}
  for name, component in components.items():
    index[name] = component if name in present else [None, None]
  for name in ("text_encoder", "tokenizer", "safety_checker"):
    index[name] = [None, None]
  index["requires_safety_checker"] = False
  files["model_index.json"] = index
  for name, content in files.items():
    path = out / name
    make_folder(path.parent)
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def unet(config: Config) -> dict[str, Any]:
  """The configuration of `UNet2DConditionModel`."""
  network = config.model.unet
  down = [
    "CrossAttnDownBlock2D" if attention else "DownBlock2D"
    for attention in network.attention
  ]
  up = [kind.replace("Down", "Up") for kind in reversed(down)]
  return {
    "_class_name": "UNet2DConditionModel",
    **_VERSION,
    "sample_size": config.data.image_size // _factor(config),
    "in_channels": network.in_channels,
    "out_channels": network.out_channels,
    "block_out_channels": network.block_channels,
    "down_block_types": down,
    "up_block_types": up,
    "layers_per_block": network.layers_per_block,
    "cross_attention_dim": network.context_dim,
    # By an old mistake of diffusers this is the number of heads.
    "attention_head_dim": network.heads,
    "norm_num_groups": network.norm_groups,
    "norm_eps": 1e-5,
    "act_fn": "silu",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "use_linear_projection": False,
  }


def autoencoder(config: Config, scaling_factor: float) -> dict[str, Any]:
  """The configuration of `AutoencoderKL` or `AutoencoderTiny`."""
  network = config.model.autoencoder
  levels, channels = len(network.block_channels), network.block_channels
  common = {
    **_VERSION,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": network.latent_channels,
    "scaling_factor": scaling_factor,
  }
  if network.family == "tiny":
    blocks = [1, *[network.layers_per_block] * (levels - 1)]
    return {
      "_class_name": "AutoencoderTiny",
      **common,
      "encoder_block_out_channels": channels,
      "decoder_block_out_channels": channels,
      "num_encoder_blocks": blocks,
      "num_decoder_blocks": blocks[::-1],
      "act_fn": "relu",
    }
  return {
    "_class_name": "AutoencoderKL",
    **common,
    "sample_size": config.data.image_size,
    "block_out_channels": channels,
    "down_block_types": ["DownEncoderBlock2D"] * levels,
    "up_block_types": ["UpDecoderBlock2D"] * levels,
    "layers_per_block": network.layers_per_block,
    "norm_num_groups": network.norm_groups,
    "mid_block_add_attention": network.mid_attention,
    "act_fn": "silu",
  }


def clip(config: Config) -> dict[str, Any]:
  """The configuration of `CLIPVisionModelWithProjection`."""
  network = config.model.clip
  return {
    "architectures": ["CLIPVisionModelWithProjection"],
    "model_type": "clip_vision_model",
    "image_size": network.image_size,
    "patch_size": network.patch_size,
    "hidden_size": network.width,
    "num_hidden_layers": network.layers,
    "num_attention_heads": network.heads,
    "intermediate_size": network.mlp_dim,
    "projection_dim": network.projection_dim,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
  }


def preprocessor(config: Config) -> dict[str, Any]:
  """The configuration of `CLIPImageProcessor`."""
  size = config.model.clip.image_size
  return {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": size},
    "resample": 3,  # bicubic
    "do_center_crop": True,
    "crop_size": {"height": size, "width": size},
    "do_normalize": True,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
  }


def scheduler(config: Config) -> dict[str, Any]:
  """The configuration of `DDIMScheduler`; it steps as `spaced_timesteps`."""
  diffusion = config.diffusion
  prediction = (
    "epsilon" if diffusion.prediction == "epsilon" else "v_prediction"
  )
  return {
    "_class_name": "DDIMScheduler",
    **_VERSION,
    "num_train_timesteps": diffusion.steps,
    "beta_start": diffusion.beta_start,
    "beta_end": diffusion.beta_end,
    "beta_schedule": "scaled_linear",
    "prediction_type": prediction,
    "timestep_spacing": "trailing",
    "set_alpha_to_one": True,
    "clip_sample": False,
    "steps_offset": 1,  # of no effect with this spacing; pipelines ask for it
  }


def _factor(config: Config) -> int:
  return 2 ** (len(config.model.autoencoder.block_channels) - 1)
