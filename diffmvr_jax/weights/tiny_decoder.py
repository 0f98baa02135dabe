"""A TAESD decoder's file, to decode another autoencoder's latents fast."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from diffmvr_jax.config import AutoencoderConfig
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import find_model_file, find_named_model_file
from diffmvr_jax.models.tiny_vae import TinyDecoder
from diffmvr_jax.weights import taesd_keys
from diffmvr_jax.weights.assemble import match, nested
from diffmvr_jax.weights.files import open_tensors

TINY = "tiny"
_NAMES = ("taesd_decoder.safetensors", "taesd_decoder.pth")
_FIRST = "1.weight"  # in the files that TAESD's author publishes


def find_tiny_decoder(name: str | Path) -> Path:
  """Finds the file of a TAESD decoder, see `diffmvr_jax.files`.

  Args:
    name: a file, or "tiny" for TAESD's decoder of Stable Diffusion's latents.

  Raises:
    InputError: there is no such file; the message says what to put where.
  """
  source = "TAESD's decoder, which its author publishes as madebyollin/taesd,"
  if str(name) == TINY:
    return find_model_file(*_NAMES, option="--decoder", source=source)
  return find_named_model_file(name, option="--decoder", source=source)


def read_tiny_decoder(
  path: Path, autoencoder: AutoencoderConfig
) -> tuple[AutoencoderConfig, dict[str, Any]]:
  """Reads a decoder and what it is.

  Args:
    path: a file such as `taesd_decoder.safetensors`.
    autoencoder: the autoencoder whose latents it is to decode.

  Returns:
    The configuration of the tiny autoencoder, and the parameters of its
    decoder.

  Raises:
    InputError: not a TAESD decoder, or one for other latents.
  """
  tensors = open_tensors(path)
  if _FIRST not in tensors:
    raise InputError(f"{path}: not a TAESD decoder: it has no {_FIRST}")
  width, channels = tensors[_FIRST].shape[:2]
  if channels != autoencoder.latent_channels:
    raise InputError(
      f"{path}: decodes {channels} latent channels, the model has "
      f"{autoencoder.latent_channels}"
    )
  config = AutoencoderConfig(
    family="tiny",
    block_channels=(width,) * len(autoencoder.block_channels),
    layers_per_block=3,
    latent_channels=channels,
    pooled_blocks=any(".pool." in name for name in tensors),
    scaling_factor=1.0,
  )
  decoder = TinyDecoder(config)
  shapes = jax.eval_shape(
    decoder.init, jax.random.key(0), jnp.zeros((1, 8, 8, channels))
  )["params"]
  table = taesd_keys.half_table({"decoder": shapes}, "decoder")
  found = match(table, tensors)
  return config, nested((m.entry.path, jnp.asarray(m.read())) for m in found)
