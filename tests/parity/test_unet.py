import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from diffmvr_jax.config import UNetConfig
from diffmvr_jax.models.attention import TwinCrossAttention
from diffmvr_jax.models.unet import UNet
from diffmvr_jax.weights import diffusers_keys
from diffmvr_jax.weights.key_table import structural
from tests.parity.reference import params_of, randomize

TEXT = UNetConfig(branches=("text",), alpha=(1.0,))
CASES = {
  "SD 1.5 U-Net": dataclasses.replace(TEXT, in_channels=4),
  "SD 1.5 inpainting U-Net": TEXT,
  "SD 2 inpainting U-Net": dataclasses.replace(
    TEXT, context_dim=1024, heads=(5, 10, 20, 20)
  ),
}


def reduced(config: UNetConfig) -> UNetConfig:
  """A tenth of the width, head counts kept apart."""
  heads = (1, 2, 4, 4) if config.heads[0] == 5 else (2, 2, 2, 2)
  return dataclasses.replace(
    config,
    block_channels=(32, 64, 128, 128),
    heads=heads,
    context_dim=config.context_dim // 16,
    layers_per_block=1,
  )


def reference_unet(config: UNetConfig, linear: bool) -> UNet2DConditionModel:
  down = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
  up = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
  return UNet2DConditionModel(
    in_channels=config.in_channels,
    out_channels=config.out_channels,
    block_out_channels=config.block_channels,
    down_block_types=down,
    up_block_types=up,
    layers_per_block=config.layers_per_block,
    cross_attention_dim=config.context_dim,
    # The name is diffusers' old mistake: these are numbers of heads.
    attention_head_dim=config.heads,
    use_linear_projection=linear,
  )


def network_shapes(config: UNetConfig):
  names = config.branches
  return jax.eval_shape(
    UNet(config).init,
    jax.random.key(0),
    jnp.zeros((1, 16, 16, config.in_channels)),
    jnp.zeros(1, jnp.int32),
    {name: jnp.zeros((1, 7, config.context_dim)) for name in names},
    {name: jnp.ones(1) for name in names},
  )["params"]


def inputs(config: UNetConfig, size: int):
  rng = np.random.default_rng(1)
  sample = rng.standard_normal((2, size, size, config.in_channels), np.float32)
  tokens = rng.standard_normal((2, 77, config.context_dim), np.float32)
  return sample, np.array([17, 901], np.int32), tokens


def run_reference(reference, sample, steps, tokens, dtype=torch.float32):
  with torch.no_grad():
    output = reference(
      torch.from_numpy(sample).permute(0, 3, 1, 2).to(dtype),
      torch.from_numpy(steps),
      torch.from_numpy(tokens).to(dtype),
    ).sample
  return output.permute(0, 2, 3, 1).float().numpy()


@pytest.mark.parametrize("name", CASES)
def test_single_branch_equals_diffusers(name, full, compare):
  config = CASES[name] if full else reduced(CASES[name])
  reference = randomize(reference_unet(config, linear="SD 2" in name))
  arrays = inputs(config, 32 if full else 16)
  expected = run_reference(reference, *arrays)
  table = diffusers_keys.unet(network_shapes(config))
  params = params_of(table, reference.state_dict())
  reference.to(torch.bfloat16)
  rounded = run_reference(reference, *arrays, torch.bfloat16)
  del reference
  sample, steps, tokens = arrays

  def run(dtype):
    return jax.jit(UNet(config, dtype).apply)(
      {"params": params},
      sample,
      steps,
      {"text": tokens},
      {"text": np.ones(2, np.float32)},
    )

  compare(name, run(jnp.float32), expected, 1e-5)
  compare(f"{name}, bf16", run(jnp.bfloat16), expected, 1e-2, rounded)


class TorchTwin(torch.nn.Module):
  """Formulas (a) and (b) of the twin cross-attention, written plainly."""

  def __init__(self, width, context, heads, alpha):
    super().__init__()
    self.heads, self.alpha = heads, alpha
    linear = torch.nn.Linear
    self.to_q = linear(width, width, bias=False)
    for name in ("symmetric", "past"):
      setattr(self, f"to_k_{name}", linear(context, width, bias=False))
      setattr(self, f"to_v_{name}", linear(context, width, bias=False))
    self.to_out = torch.nn.ModuleList([linear(width, width)])

  def forward(self, x, contexts):
    def split(t):
      return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    query = split(self.to_q(x))
    fused = 0
    for name, alpha in self.alpha.items():
      key = split(getattr(self, f"to_k_{name}")(contexts[name]))
      value = split(getattr(self, f"to_v_{name}")(contexts[name]))
      scores = query @ key.transpose(-1, -2) * key.shape[-1] ** -0.5
      fused = fused + alpha * (scores.softmax(-1) @ value)
    return self.to_out[0](fused.transpose(1, 2).flatten(2))


def test_twin_attention_equals_a_plain_torch_one(full, compare):
  width, heads, length = (320, 8, 4096) if full else (32, 4, 64)
  alpha = {"symmetric": 0.3, "past": 0.7}
  reference = randomize(TorchTwin(width, 768, heads, alpha))
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, length, width), np.float32)
  contexts = {k: rng.standard_normal((2, 257, 768), np.float32) for k in alpha}
  expected = reference(
    torch.from_numpy(x), {k: torch.from_numpy(v) for k, v in contexts.items()}
  )
  twin = TwinCrossAttention(heads, tuple(alpha), tuple(alpha.values()))
  valid = {name: np.ones(2, np.float32) for name in alpha}
  shapes = jax.eval_shape(twin.init, jax.random.key(0), x, contexts, valid)
  params = params_of(structural(shapes["params"]), reference.state_dict())
  output = jax.jit(twin.apply)({"params": params}, x, contexts, valid)
  compare("twin cross-attention", output, expected, 1e-5)


def test_twin_unet_with_all_weight_on_one_branch_is_that_branch(full, compare):
  base = CASES["SD 1.5 inpainting U-Net"]
  single = base if full else reduced(base)
  reference = randomize(reference_unet(single, linear=False))
  twin = dataclasses.replace(
    single, branches=("symmetric", "past"), alpha=(1.0, 0.0)
  )
  sample, steps, tokens = inputs(single, 16)
  expected = run_reference(reference, sample, steps, tokens)
  table = diffusers_keys.unet(network_shapes(twin))
  output = jax.jit(UNet(twin).apply)(
    {"params": params_of(table, reference.state_dict())},
    sample,
    steps,
    {"symmetric": tokens, "past": tokens[::-1]},
    {name: np.ones(2, np.float32) for name in twin.branches},
  )
  compare("twin U-Net, α = (1, 0), against one branch", output, expected, 1e-5)
