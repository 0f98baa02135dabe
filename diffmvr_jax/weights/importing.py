"""PyTorch weights to parameters: plan first, so that all errors come at once.

The twin branches start from SD's `attn2`, input channels that the file does
not have from zero, a learned α from the configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.config import Config, is_guided
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.weights import ldm, tables
from diffmvr_jax.weights.assemble import Match, match, nested
from diffmvr_jax.weights.files import Tensor
from diffmvr_jax.weights.layouts import Part, open_parts
from diffmvr_jax.weights.tables import Table


@dataclass(frozen=True, kw_only=True)
class Source:
  """Where a network, or half an autoencoder, comes from.

  Attributes:
    network: its name in the parameters.
    part: the file or folder.
    matches: a tensor for each parameter; paths begin with the network.
  """

  network: str
  part: Part
  matches: list[Match]

  @property
  def zero_channels(self) -> int:
    """Input channels of the U-Net that the file does not have."""
    return max((m.padding for m in self.matches), default=0)


def plan(paths: Sequence[Path], config: Config) -> list[Source]:
  """Finds every parameter's tensor, reading only the files' headers.

  Where two files have the same network, the later one counts.

  Raises:
    InputError: an unknown layout, or keys that are missing, unknown or
      misshapen; those of all files are listed.
  """
  shapes = DiffMVR(config=config.model).shapes(config.data.image_size)
  chosen: dict[tuple[str, str], tuple[Part, dict[str, Tensor]]] = {}
  for part in (part for path in paths for part in open_parts(path)):
    found = part.networks()
    if not found:
      raise InputError(f"{part.path}: {part.layout} weights are not imported")
    for network, tensors in found.items():
      half = part.layout.split()[-1] if "TAESD" in part.layout else ""
      if not half:
        chosen = {k: v for k, v in chosen.items() if k[0] != network}
      chosen.pop((network, ""), None)
      chosen[network, half] = (part, tensors)
  sources, problems = [], []
  for (network, half), (part, tensors) in chosen.items():
    if network == "clip" and not is_guided(config.model.unet.branches):
      continue  # a pipeline may have one, and a text branch alone needs none
    try:
      matches = _match(network, half, part, tensors, shapes, config)
      sources.append(Source(network=network, part=part, matches=matches))
    except InputError as error:
      problems.append(str(error))
  halves = {half for network, half in chosen if network == "autoencoder"}
  if halves and "" not in halves and len(halves) == 1:
    problems.append(f"a TAESD {halves.pop()} needs its other half beside it")
  if problems:
    raise InputError("\n".join(problems))
  return sources


def read(sources: Sequence[Source], config: Config) -> Params:
  """Reads what was planned, one tensor at a time, as float32 arrays.

  Raises:
    InputError: the autoencoder's scaling factor is nowhere given.
  """
  params: Params = nested(
    # A copy, so that the memory of the tensor is let go at once.
    (found.entry.path, jnp.array(found.read()).block_until_ready())
    for source in sources
    for found in source.matches
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
    _fill_alpha(params["unet"], jnp.asarray(config.model.unet.alpha))
  return params


def _match(
  network: str,
  half: str,
  part: Part,
  tensors: dict[str, Tensor],
  shapes: Params,
  config: Config,
) -> list[Match]:
  if network not in shapes:
    raise InputError(f"{part.path}: the config has no {network}")
  table = _table(network, half, part.layout, shapes, config)
  grown = {}
  if network == "unet":
    # A text-to-image U-Net sees the noisy latents alone.
    grown = {"conv_in/kernel": config.model.autoencoder.latent_channels}
  matches = match(table, tensors, grown=grown)
  if part.exact:
    matches = _exact(matches, part, shapes["unet"], config)
  if part.layout == "DiffMVR's own":
    return matches
  return [
    replace(m, entry=replace(m.entry, path=f"{network}/{m.entry.path}"))
    for m in matches
  ]


def _table(
  network: str, half: str, layout: str, shapes: Params, config: Config
) -> Table:
  own = shapes[network]
  if layout == "DiffMVR's own":
    return tables.structural({network: own})
  if network == "clip":
    return tables.clip_vision(own)
  if network == "autoencoder":
    if half:
      if config.model.autoencoder.family != "tiny":
        raise InputError(
          f"a {layout} needs model.autoencoder.family=tiny in the config"
        )
      return tables.taesd_half(own, half)
    table = tables.autoencoder(own)
    levels = len(config.model.autoencoder.block_channels)
    return ldm.autoencoder(table, levels) if layout == "LDM" else table
  table = tables.unet(own)
  layers = config.model.unet.layers_per_block
  return ldm.unet(table, layers) if layout == "LDM" else table


def _exact(
  matches: list[Match], part: Part, shapes: Any, config: Config
) -> list[Match]:
  """Takes from the sidecar what the U-Net's own file holds folded."""
  replaced = []
  entries = {e.path: e for e in tables.structural({"unet": shapes})}
  by_path = {m.entry.path: m for m in matches}
  stray = part.exact.keys() - {e.name for e in entries.values()}
  if stray:
    raise InputError(
      f"{part.path}: its sidecar is of another config; unknown there: "
      f"{', '.join(sorted(stray))}"
    )
  for path, entry in entries.items():
    local = path.removeprefix("unet/")
    tensor = part.exact.get(entry.name)
    if tensor is None:
      if local in by_path:
        replaced.append(by_path[local])
      continue
    exact = Match(entry=replace(entry, path=local), tensor=tensor)
    if local.endswith(f"to_v_{config.model.unet.branches[0]}/kernel"):
      _refuse_stale(exact, by_path[local], part, config)
    replaced.append(exact)
  return replaced


def _refuse_stale(
  exact: Match, folded: Match, part: Part, config: Config
) -> None:
  alpha = np.float32(config.model.unet.alpha[0])
  learned = exact.entry.name.rsplit(".", 2)[0] + ".alpha"
  if learned in part.exact:
    alpha = part.exact[learned].float32()[0]
  stored = folded.tensor.load()
  if not np.array_equal(
    (alpha * exact.tensor.float32()).astype(stored.dtype), stored
  ):
    raise InputError(
      f"{part.path}: changed since it was exported ({folded.entry.name}); to "
      "import it as plain Stable Diffusion, name unet/ itself"
    )


def _fill_alpha(network: dict[str, Any], alpha: jax.Array) -> None:
  for name, child in network.items():
    if name == "attn2":
      child.setdefault("alpha", alpha)
    elif isinstance(child, dict):
      _fill_alpha(child, alpha)
