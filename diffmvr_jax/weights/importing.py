"""PyTorch weights to a checkpoint.

The twin branches start from SD's `attn2`, input channels that the file does
not have from zero, a learned α from the configuration.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from diffmvr_jax.checkpoints.model import save_model
from diffmvr_jax.config import (
  Config,
  check,
  clip_towers,
  from_dict,
  is_guided,
  load_config,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import make_folder, replacing
from diffmvr_jax.models.diffmvr import Params
from diffmvr_jax.weights.assemble import nested
from diffmvr_jax.weights.network_sources import NetworkSource, find_sources
from diffmvr_jax.weights.noise_schedule import with_own_schedule
from diffmvr_jax.weights.prompt import encode_prompts
from diffmvr_jax.weights.sidecar import read_config


def import_model(
  paths: Sequence[Path],
  out: Path,
  *,
  config_file: Path | None = None,
  overrides: Sequence[str] = (),
  prompt: str | None = None,
  class_prompt: str = "",
) -> list[str]:
  """Writes a checkpoint from files of weights, whole or not at all.

  Args:
    paths: files and folders of weights; of two with the same network the
      later one counts.
    out: folder for the checkpoint; must not exist.
    config_file: configuration of the networks; None takes an export's own.
    overrides: changes to the configuration, `key.path=value`.
    prompt: text for a text branch.
    class_prompt: text for images that show the class alone, see `PriorConfig`.

  Returns:
    What was imported from where, and what was not, a line each.

  Raises:
    InputError: `out` exists, or the files do not fit the configuration.
  """
  if out.exists():
    raise InputError(f"{out}: exists; name another folder")
  config, schedule = _config(paths, config_file, overrides)
  sources = find_sources(paths, config)
  params = read(sources, config)
  if "text" in config.model.unet.branches and not {
    "prompts",
    "prompt_tokens",
  } & set(params):
    params |= encode_prompts(paths, prompt, class_prompt, config.model.text)
  elif prompt is not None:
    raise InputError("--prompt: the config has no text branch")
  make_folder(out.parent)
  with replacing(out) as unfinished:
    save_model(unfinished, config, params)
  return [
    *(_describe(source) for source in sources),
    *schedule,
    *_left_to_training(params, config),
    f"wrote {out}; train from it with init_from={out}",
  ]


def read(sources: Sequence[NetworkSource], config: Config) -> Params:
  """Reads the networks, one tensor at a time, as float32 arrays.

  Raises:
    InputError: the autoencoder's scaling factor is nowhere given.
  """
  params: Params = nested(
    # A copy, so that the memory of the tensor is let go at once.
    (match.entry.path, jnp.array(match.read()).block_until_ready())
    for source in sources
    for match in source.matches
  )
  if "autoencoder" in params and "scaling_factor" not in params:
    factor = config.model.autoencoder.scaling_factor
    if factor is None:
      raise InputError(
        "model.autoencoder.scaling_factor: give it, as an imported "
        "autoencoder is not measured"
      )
    params["scaling_factor"] = jnp.float32(factor)
  if "unet" in params and config.model.unet.alpha_mode == "learned":
    _add_missing_alpha(params["unet"], jnp.asarray(config.model.unet.alpha))
  return params


def _config(
  paths: Sequence[Path], config_file: Path | None, overrides: Sequence[str]
) -> tuple[Config, list[str]]:
  """The configuration, and what its noise schedule was taken from."""
  if config_file is not None:
    config = load_config(config_file, overrides)
    return with_own_schedule(config, paths, overrides)
  for path in paths:
    exported = read_config(path)
    if exported is not None:
      config = from_dict(exported)
      check(config)
      return config, []
  raise InputError("--config: give it, for no source is an export with its own")


def _add_missing_alpha(network: dict[str, Any], alpha: jax.Array) -> None:
  for name, child in network.items():
    if name == "attn2":
      child.setdefault("alpha", alpha)
    elif isinstance(child, dict):
      _add_missing_alpha(child, alpha)


def _describe(source: NetworkSource) -> str:
  values = sum(match.tensor.size for match in source.matches)
  text = (
    f"{source.network}: {len(source.matches)} parameters from "
    f"{source.part.path} ({source.part.layout}, {values / 1e6:.1f} M values)"
  )
  if source.zero_channels:
    text += f"; {source.zero_channels} new input channels start from zero"
  return text


def _left_to_training(params: Params, config: Config) -> list[str]:
  needed = {"unet", "autoencoder"}
  if is_guided(config.model.unet.branches):
    needed |= {*clip_towers(config.model), "guidance"}
  missing = needed - params.keys()
  return [f"left to training: {', '.join(sorted(missing))}"] if missing else []
