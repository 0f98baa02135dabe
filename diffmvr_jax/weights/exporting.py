"""Parameters to files that stock PyTorch tools load.

A folder in diffusers' layout: the first branch is the U-Net's own
cross-attention, the second an IP-Adapter beside it, f_mlp its image
projection. Attention is linear in its values, so

  α1 A(Q, K1, V1) + α2 A(Q, K2, V2) = A(Q, K1, α1 V1) + A(Q, K2, α2 V2)

and each α is folded into its branch's `to_v`. The sidecar keeps, unfolded,
what those files cannot hold, so that an import gives back the same bits.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffmvr_jax.checkpoints.model import StoredModel
from diffmvr_jax.config import Config, to_json
from diffmvr_jax.errors import InputError
from diffmvr_jax.weights import pipeline, tables
from diffmvr_jax.weights.files import write_safetensors
from diffmvr_jax.weights.layouts import SIDECAR, SIDECAR_CONFIG
from diffmvr_jax.weights.tables import Entry, Table

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_IMAGE_PROJECTION = {
  "guidance/linear_1/kernel": "proj.0.weight",
  "guidance/linear_1/bias": "proj.0.bias",
  "guidance/linear_2/kernel": "proj.2.weight",
  "guidance/linear_2/bias": "proj.2.bias",
  "guidance/norm/scale": "proj.3.weight",
  "guidance/norm/bias": "proj.3.bias",
}


def export(model: StoredModel, out: Path, dtype: str = "F32") -> list[str]:
  """Writes the folder, whole or not at all, a tensor at a time.

  Args:
    model: trained or imported.
    out: must not exist.
    dtype: F32, F16 or BF16; the sidecar is always F32.

  Returns:
    Notes on what stock tools cannot do with it.

  Raises:
    InputError: `out` exists, or the model has parts that diffusers lacks.
  """
  if out.exists():
    raise InputError(f"{out}: exists; name another folder")
  _refuse_unknown_parts(model.config)
  unfinished = out.with_name(out.name + ".partial")
  shutil.rmtree(unfinished, ignore_errors=True)
  notes = []
  for name, write in (
    ("unet", _export_unet),
    ("autoencoder", _export_autoencoder),
    ("clip", _export_clip),
  ):
    if name in model.shapes:
      write(model, unfinished, dtype)
  reason = _no_adapter(model)
  if reason is None:
    _export_adapter(model, unfinished, dtype)
  else:
    notes.append(f"no IP-Adapter file: {reason}")
  _export_sidecar(model, unfinished)
  pipeline.write(model, unfinished)
  unfinished.rename(out)
  return notes


def _refuse_unknown_parts(config: Config) -> None:
  unet, autoencoder = config.model.unet, config.model.autoencoder
  for key, wrong in (
    ("model.unet.query_position=True", unet.query_position),
    ("model.unet.norm_groups=0", not unet.norm_groups),
    (
      "model.autoencoder.norm_groups=0",
      autoencoder.family == "kl" and not autoencoder.norm_groups,
    ),
  ):
    if wrong:
      raise InputError(f"{key}: diffusers has no such network; not exported")


def _export_unet(model: StoredModel, out: Path, dtype: str) -> None:
  first = model.config.model.unet.branches[0]
  table = [
    entry
    for entry in _table(model, "unet", tables.unet)
    if _branch(entry) in (None, first)
  ]
  _write(model, out / "unet" / _WEIGHTS, table, dtype, _scales(model, first))


def _export_autoencoder(model: StoredModel, out: Path, dtype: str) -> None:
  if not model.config.model.autoencoder.pooled_blocks:
    table = _table(model, "autoencoder", tables.autoencoder)
    _write(model, out / "vae" / _WEIGHTS, table, dtype)
    return
  # diffusers has no such blocks; these are the files of TAESD's own code.
  for half in ("encoder", "decoder"):
    table = _table(model, "autoencoder", partial(tables.taesd_half, half=half))
    _write(model, out / "vae" / f"taesd_{half}.safetensors", table, dtype)


def _export_clip(model: StoredModel, out: Path, dtype: str) -> None:
  table = _table(model, "clip", tables.clip_vision)
  _write(model, out / "image_encoder" / "model.safetensors", table, dtype)


def _no_adapter(model: StoredModel) -> str | None:
  """Why there is no IP-Adapter that is equal to the second branch."""
  config = model.config.model
  if "unet" not in model.shapes or "guidance" not in model.shapes:
    return "it needs a U-Net and f_mlp, and this model lacks one"
  if len(config.unet.branches) != 2:
    return f"it holds a second branch, and there is {len(config.unet.branches)}"
  if config.guidance.encoder != "clip":
    return f"its tokens are CLIP's, not {config.guidance.encoder!r}"
  if config.guidance.tokens != "patch":
    return "its image projection takes CLIP's patch tokens"
  if config.guidance.hidden_dim != config.clip.width:
    return "its image projection's hidden width is CLIP's"
  return None


def _export_adapter(model: StoredModel, out: Path, dtype: str) -> None:
  second = model.config.model.unet.branches[1]
  table = [
    replace(entry, name=f"image_proj.{_IMAGE_PROJECTION[entry.path]}")
    for entry in tables.structural({"guidance": model.shapes["guidance"]})
    if entry.path in _IMAGE_PROJECTION
  ]
  numbers = {
    layer: 2 * i + 1 for i, layer in enumerate(_attention_layers(model))
  }
  for entry in tables.structural({"unet": model.shapes["unet"]}):
    if _branch(entry) == second:
      layer, projection = entry.path.split("/to_")
      name = f"{numbers[layer]}.to_{projection[0]}_ip.weight"
      table.append(replace(entry, name=f"ip_adapter.{name}"))
  path = out / "ip_adapter" / f"{second}.safetensors"
  _write(model, path, table, dtype, _scales(model, second))


def _attention_layers(model: StoredModel) -> list[str]:
  """Paths of the cross-attention layers in the order of IP-Adapter files.

  That is the order in which PyTorch lists the modules: down, up, then middle.
  """
  layers = {
    entry.path.split("/to_q")[0]
    for entry in tables.structural({"unet": model.shapes["unet"]})
    if entry.path.endswith("attn2/to_q/kernel")
  }
  sides = ("unet/down_blocks", "unet/up_blocks", "unet/mid_block")
  return [
    layer
    for side in sides
    for layer in sorted(layers)
    if layer.startswith(side)
  ]


def _branch(entry: Entry) -> str | None:
  """The branch that a parameter of the U-Net belongs to alone."""
  found = tables.BRANCH.search(entry.path)
  return found[2] if found else None


def _scales(model: StoredModel, branch: str) -> dict[str, np.float32]:
  """α of the branch by the path of each `to_v` that it is folded into."""
  unet, layers = model.config.model.unet, _attention_layers(model)
  index = unet.branches.index(branch)
  if unet.alpha_mode == "learned":
    learned = model.stream([f"{layer}/alpha" for layer in layers])
    alphas = [alpha[index] for alpha in learned]
  else:
    alphas = [np.float32(unet.alpha[index])] * len(layers)
  paths = [f"{layer}/to_v_{branch}/kernel" for layer in layers]
  return dict(zip(paths, alphas, strict=True))


def _export_sidecar(model: StoredModel, out: Path) -> None:
  """Writes every parameter that no other file holds as it is."""
  kept = {
    name: shapes
    for name, shapes in model.shapes.items()
    if name in ("unet", "guidance", "scaling_factor", "prompt")
  }
  first = model.config.model.unet.branches[0]

  def elsewhere(entry: Entry) -> bool:
    if not entry.path.startswith("unet/") or entry.path.endswith("alpha"):
      return False
    branch = _branch(entry)
    return branch is None or (branch == first and "to_k" in entry.path)

  table = [e for e in tables.structural(kept) if not elsewhere(e)]
  _write(model, out / SIDECAR, table, "F32")
  (out / SIDECAR_CONFIG).write_text(to_json(model.config))


def _table(
  model: StoredModel, network: str, build: Callable[[Any], Table]
) -> Table:
  return [
    replace(entry, path=f"{network}/{entry.path}")
    for entry in build(model.shapes[network])
  ]


def _write(
  model: StoredModel,
  path: Path,
  table: Table,
  dtype: str,
  scales: Mapping[str, np.float32] | None = None,
) -> None:
  """Writes a table's tensors, some of them scaled by their parameter's path."""
  scales = scales or {}
  path.parent.mkdir(parents=True, exist_ok=True)
  params = model.stream([entry.path for entry in table])

  def tensors() -> Iterator[tuple[str, np.ndarray]]:
    for entry, param in zip(table, params, strict=True):
      if entry.path in scales:
        param = scales[entry.path] * param
      yield entry.name, entry.to_tensor(param)

  shapes = {entry.name: entry.stored_shape for entry in table}
  write_safetensors(path, shapes, tensors(), dtype)


def read_config(folder: Path) -> dict[str, Any] | None:
  """The configuration that an export keeps; None where there is none."""
  path = folder / SIDECAR_CONFIG
  return json.loads(path.read_text()) if path.is_file() else None
