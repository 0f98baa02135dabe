"""A TAESD decoder's file, to decode another autoencoder's latents fast."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from diffmvr_jax.config import AutoencoderConfig
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.tiny_vae import TinyDecoder
from diffmvr_jax.weights import taesd_keys
from diffmvr_jax.weights.assemble import match, nested
from diffmvr_jax.weights.files import open_tensors

TINY = "tiny"
_NAMES = ("taesd_decoder.safetensors", "taesd_decoder.pth")
_FIRST = "1.weight"  # in the files that TAESD's author publishes


def find_tiny_decoder(name: str | Path) -> Path:
  """The file that a name stands for.

  Args:
    name: a file; or "tiny": TAESD's decoder for Stable Diffusion's latents, in
      the folder `DIFFMVR_MODELS` or `~/.cache/diffmvr`.

  Raises:
    InputError: it is nowhere; the message says what to put where.
  """
  if str(name) != TINY:
    return Path(name)
  cache = Path("~/.cache/diffmvr").expanduser()
  folders = [Path(os.environ.get("DIFFMVR_MODELS") or cache), cache]
  for path in (folder / file for folder in folders for file in _NAMES):
    if path.is_file():
      return path
  raise InputError(
    f"{folders[0] / _NAMES[0]}: no such file; put TAESD's decoder there, "
    "which its author publishes as madebyollin/taesd, or name a file"
  )


def read_tiny_decoder(
  path: Path, autoencoder: AutoencoderConfig
) -> tuple[AutoencoderConfig, dict[str, Any]]:
  """Reads a decoder and what it is.

  Args:
    path: such as `taesd_decoder.safetensors`.
    autoencoder: whose latents it is to decode.

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
