"""Which file each network is imported from, and which tensor each parameter.

Only headers are read, so that all errors come at once, before any value.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffmvr_jax.config import Config, clip_towers, is_guided
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.weights import (
  clip_keys,
  diffusers_keys,
  ldm_keys,
  taesd_keys,
)
from diffmvr_jax.weights.assemble import Match, match
from diffmvr_jax.weights.files import Tensor
from diffmvr_jax.weights.key_table import Table, structural
from diffmvr_jax.weights.layouts import OWN, Part, open_parts
from diffmvr_jax.weights.sidecar import unfolded


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
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
    """Number of the U-Net's input channels that the file does not have."""
    return max((match.padding for match in self.matches), default=0)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
  """Tensors that may be a network's.

  Attributes:
    network: the network's name in the parameters.
    half: "encoder" or "decoder" of an autoencoder in two files; else empty.
    part: the file or folder.
    tensors: tensors by name.
  """

  network: str
  half: str
  part: Part
  tensors: dict[str, Tensor]


def find_sources(paths: Sequence[Path], config: Config) -> list[NetworkSource]:
  """Finds every parameter's tensor.

  If two files have the same network, the later one counts.

  Args:
    paths: files and folders of weights.
    config: what the networks are to be.

  Raises:
    InputError: a layout is unknown, or keys are missing, unknown or
      misshapen; those of all files are listed.
  """
  shapes = DiffMVR.of(config).shapes(config.data.image_size)
  chosen = _latest([c for path in paths for c in _candidates(path)])
  chosen += _other_towers(chosen, config)
  sources, problems = [], []
  for candidate in chosen:
    if candidate.network == "clip" and not is_guided(
      config.model.unet.branches
    ):
      continue  # a pipeline may have one, and a text branch alone needs none
    try:
      sources.append(_source(candidate, shapes, config))
    except InputError as error:
      problems.append(str(error))
  halves = {c.half for c in chosen if c.half}
  if len(halves) == 1:
    problems.append(f"a TAESD {halves.pop()} needs its other half beside it")
  if problems:
    raise InputError("; ".join(problems))
  return sources


def _candidates(path: Path) -> Iterator[_Candidate]:
  for part in open_parts(path):
    networks = part.networks()
    if not networks:
      raise InputError(f"{part.path}: {part.layout} weights are not imported")
    for network, tensors in networks.items():
      yield _Candidate(
        network=network, half=part.half, part=part, tensors=tensors
      )


def _latest(candidates: Sequence[_Candidate]) -> list[_Candidate]:
  """One candidate for each network, or two halves of one."""
  chosen: list[_Candidate] = []
  for new in candidates:
    chosen = [old for old in chosen if not _replaces(new, old)]
    chosen.append(new)
  return chosen


def _other_towers(
  chosen: Sequence[_Candidate], config: Config
) -> list[_Candidate]:
  """Separate CLIP towers start from the same file, unless one has its own."""
  given = {candidate.network: candidate for candidate in chosen}
  if "clip" not in given or not is_guided(config.model.unet.branches):
    return []
  return [
    replace(given["clip"], network=tower)
    for tower in clip_towers(config.model)
    if tower not in given
  ]


def _replaces(new: _Candidate, old: _Candidate) -> bool:
  if new.network != old.network:
    return False
  return not new.half or not old.half or new.half == old.half


def _source(
  candidate: _Candidate, shapes: Params, config: Config
) -> NetworkSource:
  network, part = candidate.network, candidate.part
  if network not in shapes:
    raise InputError(f"{part.path}: the config has no {network}")
  narrower: Mapping[str, Collection[int]] = {}
  if network == "unet":
    # A text-to-image U-Net sees the noisy latents alone, one for inpainting
    # the mask and the masked latents too, neither of them aligned guidance.
    latents = config.model.autoencoder.latent_channels
    narrower = {"conv_in/kernel": (latents, 2 * latents + 1)}
  table = _key_table(candidate, shapes, config)
  matches = match(table, candidate.tensors, narrower=narrower)
  if part.sidecar:
    matches = unfolded(
      matches,
      part.sidecar,
      unet=shapes["unet"],
      config=config.model.unet,
      path=part.path,
    )
  if part.layout != OWN:  # ours has the network in its names already
    matches = [
      replace(m, entry=replace(m.entry, path=f"{network}/{m.entry.path}"))
      for m in matches
    ]
  return NetworkSource(network=network, part=part, matches=matches)


def _key_table(candidate: _Candidate, shapes: Params, config: Config) -> Table:
  network, layout = candidate.network, candidate.part.layout
  own = shapes[network]
  if layout == OWN:
    return structural({network: own})
  if network.startswith("clip"):
    return clip_keys.vision(own)
  if network == "unet":
    table = diffusers_keys.unet(own)
    layers = config.model.unet.layers_per_block
    return ldm_keys.unet(table, layers) if layout == "LDM" else table
  if candidate.half:
    if config.model.autoencoder.family != "tiny":
      raise InputError(
        f"a {layout} needs model.autoencoder.family=tiny in the config"
      )
    return taesd_keys.half_table(own, candidate.half)
  table = diffusers_keys.autoencoder(own)
  levels = len(config.model.autoencoder.block_channels)
  return ldm_keys.autoencoder(table, levels) if layout == "LDM" else table
