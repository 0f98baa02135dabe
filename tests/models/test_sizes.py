"""SD 1.5's scale is a configuration: known parameter counts, no arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from diffmvr_jax.config import ModelConfig, UNetConfig
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.models.unet import UNet


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def shapes():
  return DiffMVR(config=ModelConfig()).shapes(image_size=512)


def test_autoencoder_has_the_parameters_of_sd(shapes):
  assert count(shapes["autoencoder"]) == 83_653_863


def test_clip_has_the_parameters_of_vit_l_14(shapes):
  assert count(shapes["clip"]) == 303_966_208


def test_single_branch_unet_has_the_parameters_of_sd_1_5():
  config = UNetConfig(in_channels=4, branches=("symmetric",), alpha=(1.0,))
  shapes = jax.eval_shape(
    UNet(config).init,
    jax.random.key(0),
    jnp.zeros((1, 64, 64, 4)),
    jnp.zeros(1, jnp.int32),
    {"symmetric": jnp.zeros((1, 77, 768))},
    {"symmetric": jnp.ones(1)},
  )
  assert count(shapes) == 859_520_964


def test_parameter_paths_follow_diffusers(shapes):
  paths = {
    "/".join(str(key.key) for key in path)
    for path, _ in jax.tree.leaves_with_path(shapes["unet"])
  }
  block = "down_blocks_0/attentions_0/transformer_blocks_0"
  for path in (
    "conv_in/kernel",
    "time_embedding/linear_1/kernel",
    "down_blocks_0/resnets_0/conv1/kernel",
    "down_blocks_0/downsamplers_0/conv/kernel",
    f"{block}/attn1/to_out_0/bias",
    f"{block}/attn2/to_k_past/kernel",
    f"{block}/ff/net_0_proj/kernel",
    "mid_block/resnets_1/norm2/scale",
    "up_blocks_3/resnets_2/conv_shortcut/kernel",
  ):
    assert path in paths


def test_bf16_computes_in_bf16_and_answers_in_float32():
  config = UNetConfig(
    block_channels=(8, 8),
    attention=(True, False),
    heads=(2, 2),
    layers_per_block=1,
    context_dim=8,
    norm_groups=4,
  )
  unet = UNet(config, jnp.bfloat16)
  tokens = jnp.zeros((1, 3, 8))
  context = {"symmetric": tokens, "past": tokens}
  valid = {"symmetric": jnp.ones(1), "past": jnp.ones(1)}
  arguments = (jnp.ones((1, 8, 8, 9)), jnp.zeros(1, jnp.int32), context, valid)
  output, params = unet.init_with_output(jax.random.key(0), *arguments)
  assert output.dtype == jnp.float32
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  text = jax.jit(unet.apply).lower(params, *arguments).as_text()
  assert "bf16" in text
  full = UNet(dataclasses.replace(config), jnp.float32).apply(
    params, *arguments
  )
  assert jnp.linalg.norm(full - output) <= 0.02 * jnp.linalg.norm(full) + 1e-6
