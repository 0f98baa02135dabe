"""Which layout a file of weights has, told by the names of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from diffmvr_jax.errors import InputError
from diffmvr_jax.weights import ldm_keys
from diffmvr_jax.weights.files import Tensor, open_tensors
from diffmvr_jax.weights.sidecar import SIDECAR

# The layout of our parameters' own paths.
OWN = "DiffMVR's own"

# A name that only this layout has, in the order in which they are tried.
_SIGNS = {
  OWN: r"(unet|guidance)\..+|scaling_factor",
  "LDM": r"model\.diffusion_model\.input_blocks\.0\.0\.weight",
  "diffusers U-Net": r"down_blocks\.0\.resnets\.0\.conv1\.weight",
  "diffusers autoencoder": r"encoder\.down_blocks\.0\.resnets\.0\..+",
  "diffusers tiny autoencoder": r"encoder\.layers\.0\.weight",
  "CLIP": r"vision_model\.embeddings\.class_embedding",
  "CLIP text": r"(text_model\.)?embeddings\.token_embedding\.weight",
  "IP-Adapter": r"(image_proj|ip_adapter)\..+",
  "TAESD encoder": r"0\.weight",
  "TAESD decoder": r"1\.weight",
}


@dataclass(frozen=True, kw_only=True)
class Part:
  """Tensors of one layout.

  Attributes:
    path: what the user named, or a folder below it.
    layout: one of the names that `layout_of` gives.
    tensors: tensors by name.
    sidecar: for a U-Net that this project exported, the tensors of the sidecar
      that `tensors` holds folded, or not at all.
  """

  path: Path
  layout: str
  tensors: dict[str, Tensor]
  sidecar: dict[str, Tensor] = field(default_factory=dict)

  @property
  def half(self) -> str:
    """Which half of an autoencoder it holds, if its layout splits it."""
    return self.layout.split()[-1] if self.layout.startswith("TAESD") else ""

  def networks(self) -> dict[str, dict[str, Tensor]]:
    """The tensors that may be weights of our networks, by network."""
    if self.layout == "LDM":
      found = {
        "unet": _below(self.tensors, ldm_keys.UNET_PREFIX),
        "autoencoder": _below(self.tensors, ldm_keys.AUTOENCODER_PREFIX),
      }
      return {name: tensors for name, tensors in found.items() if tensors}
    if self.layout == OWN:
      found: dict[str, dict[str, Tensor]] = {}
      for name, tensor in self.tensors.items():
        found.setdefault(name.split(".")[0], {})[name] = tensor
      return found
    network, ignored = _NETWORKS.get(self.layout, (None, None))
    if network is None:
      return {}
    return {
      network: {
        name: tensor
        for name, tensor in self.tensors.items()
        if ignored is None or not re.fullmatch(ignored, name)
      }
    }


# The network that a layout holds, and names in it that are not weights of it.
_NETWORKS: dict[str, tuple[str, str | None]] = {
  "diffusers U-Net": ("unet", None),
  "diffusers autoencoder": ("autoencoder", None),
  "diffusers tiny autoencoder": ("autoencoder", None),
  "TAESD encoder": ("autoencoder", None),
  "TAESD decoder": ("autoencoder", None),
  "CLIP": (
    "clip",
    r"text_model\..*|text_projection\..*|logit_scale|.*position_ids",
  ),
}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
  return {k: v for k, v in tensors.items() if k.startswith(prefix)}


def layout_of(tensors: Mapping[str, Tensor]) -> str | None:
  """The layout's name; None if it is none that is known.

  Example:
    >>> layout_of({}) is None
    True
  """
  for layout, sign in _SIGNS.items():
    if any(re.fullmatch(sign, name) for name in tensors):
      return layout
  return None


def open_parts(path: Path) -> list[Part]:
  """Opens a file, a model's folder, or a pipeline's folder of such folders.

  Raises:
    InputError: nothing there can be read, or nothing is known.
  """
  if not (path / "model_index.json").is_file():
    return _open(path)
  parts = []
  for name in ("unet", "vae", "image_encoder"):
    if (path / name).is_dir():
      parts += _open(path / name)
  if (path / SIDECAR).is_file():
    (own,) = _open(path / SIDECAR)
    of_unet = _below(own.tensors, "unet.")
    parts = [
      replace(part, sidecar=of_unet)
      if part.layout == "diffusers U-Net"
      else part
      for part in parts
    ]
    rest = {k: v for k, v in own.tensors.items() if k not in of_unet}
    parts.append(replace(own, tensors=rest))
  if not parts:
    raise InputError(
      f"{path}: a pipeline without unet/, vae/ or image_encoder/"
    )
  return parts


def _open(path: Path) -> list[Part]:
  halves = [
    path / f"taesd_{half}.safetensors" for half in ("encoder", "decoder")
  ]
  if all(half.is_file() for half in halves):
    return [part for half in halves for part in _open(half)]
  tensors = open_tensors(path)
  layout = layout_of(tensors)
  if layout is None:
    some = ", ".join(list(tensors)[:3])
    raise InputError(
      f"{path}: of no layout that is known; it has {len(tensors)} tensors: "
      f"{some}, …"
    )
  return [Part(path=path, layout=layout, tensors=tensors)]
