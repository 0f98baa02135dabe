import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from diffmvr_jax.config import ClipTextConfig, ClipVisionConfig
from diffmvr_jax.media.video import read_frames
from diffmvr_jax.models.clip import CLIP_STD, ClipText, ClipVision, preprocess
from diffmvr_jax.models.frames import to_float
from diffmvr_jax.weights import clip_keys
from tests.parity.reference import params_of, randomize

TEXT_TOWERS = {
  "CLIP text tower of SD 1.5": ClipTextConfig(),
  "OpenCLIP-H text tower of SD 2": ClipTextConfig(
    width=1024, layers=23, heads=16, mlp_dim=4096, activation="gelu"
  ),
}


def test_vision_tower_equals_transformers(full, compare):
  config = ClipVisionConfig()
  if not full:
    config = dataclasses.replace(
      config, image_size=56, width=64, layers=3, heads=4, mlp_dim=128
    )
  reference = randomize(
    transformers.CLIPVisionModelWithProjection(
      transformers.CLIPVisionConfig(
        image_size=config.image_size,
        patch_size=config.patch_size,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.mlp_dim,
        projection_dim=config.projection_dim,
      )
    )
  )
  size = config.image_size
  rng = np.random.default_rng(0)
  image = rng.standard_normal((2, size, size, 3), np.float32)

  def run_reference(dtype):
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).to(dtype)
    output = reference.to(dtype)(pixels, output_hidden_states=True)
    states = output.hidden_states[config.output_layer]
    return states.float(), output.image_embeds.float()

  expected = run_reference(torch.float32)
  shapes = jax.eval_shape(ClipVision(config).init, jax.random.key(0), image)
  params = params_of(clip_keys.vision(shapes["params"]), reference.state_dict())
  rounded = run_reference(torch.bfloat16)

  def run(dtype):
    return jax.jit(ClipVision(config, dtype).apply)({"params": params}, image)

  for i, part in enumerate(("patch tokens", "projection")):
    name = f"CLIP ViT-L/14, {part}"
    compare(name, run(jnp.float32)[i], expected[i], 1e-5)
    half = run(jnp.bfloat16)[i]
    compare(f"{name}, bf16", half, expected[i], 1e-2, rounded[i])


@pytest.mark.parametrize("name", TEXT_TOWERS)
def test_text_tower_equals_transformers(name, full, compare):
  config = TEXT_TOWERS[name]
  if not full:
    config = dataclasses.replace(
      config, vocabulary=99, width=64, layers=3, heads=4, mlp_dim=128
    )
  reference = randomize(
    transformers.CLIPTextModel(
      transformers.CLIPTextConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.mlp_dim,
        hidden_act=config.activation,
      )
    )
  )
  rng = np.random.default_rng(0)
  tokens = rng.integers(0, config.vocabulary, (2, 77)).astype(np.int32)
  expected = reference(torch.from_numpy(tokens).long()).last_hidden_state
  tower = ClipText(config)
  shapes = jax.eval_shape(tower.init, jax.random.key(0), tokens)["params"]
  params = params_of(clip_keys.text(shapes), reference.state_dict())
  output = jax.jit(tower.apply)({"params": params}, tokens)
  compare(name, output, expected, 1e-5)


def test_preprocessing_equals_transformers_on_real_frames(assets):
  from PIL import Image

  processor = transformers.CLIPImageProcessor()
  prepare = jax.jit(preprocess, static_argnums=1)
  for video in (
    "faces/face_01.mp4",
    "faces/face_12.mp4",
    "faces/face_04.mp4",
    "clips/hand_over_face.mp4",
  ):
    frame = next(read_frames(assets / video)).image
    expected = processor(Image.fromarray(frame), return_tensors="np")
    ours = prepare(to_float(jnp.asarray(frame[None])), 224)
    reference = expected["pixel_values"].transpose(0, 2, 3, 1)
    in_levels = np.abs(np.asarray(ours) - reference) * np.array(CLIP_STD) * 255
    assert in_levels.max() < 2.001  # whole levels, but for rounding
