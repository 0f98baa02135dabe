"""Aligned guidance for tests: arrays of the contract, made of nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.checkpoints.model_file import write_model_file
from diffmvr_jax.config import FusionConfig, check
from diffmvr_jax.models.diffmvr import DiffMVR

SOURCES = 4


def arrays(lead=(1, 2), size=32, seed=5):
  """Aligned guidance with these leading axes, as `needed_arrays` names it."""
  rng = np.random.default_rng(seed)

  def image(*shape, high=256):
    return rng.integers(0, high, (*lead, *shape)).astype(np.uint8)

  grid = size // 2
  valid = np.ones((*lead, SOURCES), bool)
  valid[..., -1] = False
  flow = 2 * rng.standard_normal((*lead, SOURCES, grid, grid, 2))
  return {
    "propagated": image(size, size, 3),
    "propagated_confidence": image(size, size, 1),
    "sources": image(SOURCES, size, size, 3),
    "source_known": image(SOURCES, size, size, 1, high=2),
    "source_flow": flow.astype(np.float16),
    "source_valid": valid,
  }


def with_arrays(observation):
  """An observation of the same size with aligned guidance."""
  lead, size = observation.mask.shape[:2], observation.mask.shape[2]
  made = arrays(tuple(lead), size)
  return observation.replace(**{k: jnp.asarray(v) for k, v in made.items()})


def without_unet(config, **changes):
  """The config whose restoration is the propagated image; nothing trains."""
  idle = {
    name: dataclasses.replace(getattr(config, name), steps=0)
    for name in ("autoencoder_stage", "diffusion_stage", "sampling")
  }
  return anchored(config, "propagated", **idle, **changes)


def anchored(config, anchor="propagated", *, concat=("propagated",), **changes):
  """The config with an anchor, reference decoding, and a tiny fusion."""
  latents = config.model.autoencoder.latent_channels
  channels = 2 * latents + 1 + len(concat) * (latents + 1)
  model = dataclasses.replace(
    config.model,
    unet=dataclasses.replace(config.model.unet, in_channels=channels),
    guidance=dataclasses.replace(config.model.guidance, concat=concat),
    decoding="reference",
    fusion=tiny_fusion() if anchor == "fused" else None,
  )
  diffusion = dataclasses.replace(
    config.diffusion, anchor=anchor, prediction="sample"
  )
  config = dataclasses.replace(
    config, model=model, diffusion=diffusion, **changes
  )
  check(config)
  return config


def tiny_fusion(**changes):
  """The smallest fusion network that has every part."""
  return FusionConfig(
    sources=SOURCES,
    channels=(8, 8),
    blocks=(1, 1),
    features=4,
    fine_channels=8,
    **changes,
  )


def anchor_alone(config, **changes):
  """The config of an anchor without a diffusion stage."""
  return dataclasses.replace(
    anchored(config, "fused"),
    sampling=dataclasses.replace(config.sampling, steps=0),
    autoencoder_stage=dataclasses.replace(config.autoencoder_stage, steps=0),
    diffusion_stage=dataclasses.replace(config.diffusion_stage, steps=0),
    **changes,
  )


def write_stand_in(path, config):
  """An untrained anchor in a file: what it restores is propagation."""
  params = DiffMVR.of(config).init(jax.random.key(0), config.data.image_size)
  write_model_file(path, config, params, 0, {})
