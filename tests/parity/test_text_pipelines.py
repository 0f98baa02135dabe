"""The text baselines are diffusers' inpainting pipelines, noise to pixels."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.convert import main as convert
from diffmvr_jax.diffusion.noise import frame_noise
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.inference.sampling import restore_images
from diffmvr_jax.models.observation import Observation
from tests.weights.tiny_sd import CONFIG, randomized

pytestmark = pytest.mark.filterwarnings("ignore")

_WORDS = ["!", "<|startoftext|>", "<|endoftext|>", "h", "i</w>", "hi</w>"]
# What sets Stable Diffusion 2 apart: linear projections, heads that differ,
# OpenCLIP's GELU, "!" as padding, and perhaps v-prediction.
GENERATIONS = {
  "runwayml": {
    "linear": False,
    "activation": "quick_gelu",
    "pad": "<|endoftext|>",
    "prediction": "epsilon",
  },
  "stabilityai": {
    "linear": True,
    "activation": "gelu",
    "pad": "!",
    "prediction": "epsilon",
  },
  "v-prediction": {
    "linear": True,
    "activation": "gelu",
    "pad": "!",
    "prediction": "v_prediction",
  },
}


def build_pipeline(folder, kind):
  from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
  )
  from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

  files = folder / "words"
  files.mkdir(parents=True)
  vocabulary = {word: i for i, word in enumerate(_WORDS)}
  (files / "vocab.json").write_text(json.dumps(vocabulary))
  (files / "merges.txt").write_text("#version: 0.2\nh i</w>\n")
  tokenizer = CLIPTokenizer(
    str(files / "vocab.json"),
    str(files / "merges.txt"),
    pad_token=kind["pad"],
    model_max_length=77,
  )
  torch.manual_seed(1)
  tower = randomized(
    CLIPTextModel(
      CLIPTextConfig(
        vocab_size=6,
        hidden_size=24,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_act=kind["activation"],
        bos_token_id=1,
        eos_token_id=2,
      )
    )
  )
  autoencoder = randomized(
    AutoencoderKL(
      block_out_channels=(4, 8),
      down_block_types=["DownEncoderBlock2D"] * 2,
      up_block_types=["UpDecoderBlock2D"] * 2,
      layers_per_block=1,
      latent_channels=4,
      norm_num_groups=2,
    )
  )
  with torch.no_grad():  # diffusers draws from the posterior; ours is its mean
    autoencoder.quant_conv.weight[4:] = 0
    autoencoder.quant_conv.bias[4:] = -30
  unet = randomized(
    UNet2DConditionModel(
      sample_size=64,  # smaller ones are taken for a mistake
      in_channels=9,
      out_channels=4,
      block_out_channels=(8, 16),
      down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
      up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
      layers_per_block=1,
      cross_attention_dim=24,
      attention_head_dim=[2, 4] if kind["linear"] else 2,
      use_linear_projection=kind["linear"],
      norm_num_groups=4,
    )
  )
  pipeline = StableDiffusionInpaintPipeline(
    vae=autoencoder,
    text_encoder=tower,
    tokenizer=tokenizer,
    unet=unet,
    scheduler=DDIMScheduler(
      beta_start=0.00085,
      beta_end=0.012,
      beta_schedule="scaled_linear",
      prediction_type=kind["prediction"],
      timestep_spacing="trailing",
      clip_sample=False,
      steps_offset=1,
    ),
    safety_checker=None,
    feature_extractor=None,
    requires_safety_checker=False,
  )
  pipeline.set_progress_bar_config(disable=True)
  pipeline.save_pretrained(folder / "pipeline")
  return pipeline, folder / "pipeline"


@pytest.mark.parametrize("name", GENERATIONS)
def test_images_are_the_pipelines(name, tmp_path, capsys):
  kind = GENERATIONS[name]
  pipeline, folder = build_pipeline(tmp_path, kind)
  heads = "(2,4)" if kind["linear"] else "(2,2)"
  convert(
    [
      *("import", str(folder), "--config", str(CONFIG)),
      *("--out", str(tmp_path / "run"), "--prompt", "hi", "--set"),
      *("model.unet.branches=('text',)", "model.unet.alpha=(1.0,)"),
      *(f"model.unet.heads={heads}", "sampling.guidance=(7.5,)"),
      "sampling.steps=4",
    ]
  )
  assert "beta_start 0.00085, beta_end 0.012" in capsys.readouterr().out
  stored = open_model(tmp_path / "run")
  config = stored.config
  assert config.diffusion.beta_end == 0.012
  random = np.random.default_rng(0)
  frame = random.integers(0, 256, (1, 1, 32, 32, 3), np.uint8)
  mask = np.zeros((1, 1, 32, 32, 1), np.uint8)
  mask[:, :, 8:20, 4:24] = 1
  key = jax.random.key(3)
  noise_key, _ = jax.random.split(key)
  like = jnp.zeros((1, 16, 16, 4))
  number = jnp.zeros(1, jnp.int32)
  noise = frame_noise(noise_key, number, 1.0, like)
  blank = jnp.zeros((1, 1, 32, 32, 3), jnp.uint8)
  ours = jax.jit(partial(restore_images, config.model, config.sampling))(
    stored.load(),
    make_schedule(config.diffusion),
    Observation(
      frame=jnp.asarray(frame),
      mask=jnp.asarray(mask),
      symmetric=blank,
      past=None,
      symmetric_valid=jnp.zeros((1, 1), bool),
      past_valid=jnp.zeros((1, 1), bool),
    ),
    key=key,
    frame_index=number[None],
  )
  image = torch.from_numpy(frame[0].transpose(0, 3, 1, 2).astype(np.float32))
  theirs = pipeline(
    prompt="hi",
    image=image / 127.5 - 1,
    mask_image=torch.from_numpy(mask[0].transpose(0, 3, 1, 2)).float(),
    height=32,
    width=32,
    num_inference_steps=4,
    guidance_scale=7.5,
    latents=torch.from_numpy(np.array(noise).transpose(0, 3, 1, 2)),
    output_type="np",
  ).images
  pixels = np.clip(np.asarray(ours[0]) / 2 + 0.5, 0, 1)
  assert np.std(theirs) > 0.05  # not one colour
  np.testing.assert_allclose(pixels, theirs, atol=1e-3)
