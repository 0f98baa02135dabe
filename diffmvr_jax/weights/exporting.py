"""A checkpoint to files that stock PyTorch tools load.

A folder in diffusers' layout: the first branch is the U-Net's own
cross-attention, the second an IP-Adapter beside it, f_mlp its image
projection. Attention is linear in its values, so

  α1 A(Q, K1, V1) + α2 A(Q, K2, V2) = A(Q, K1, α1 V1) + A(Q, K2, α2 V2)

and each α is folded into its branch's `to_v`. The sidecar keeps, unfolded,
what those files cannot hold, so that an import gives back the same bits.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffmvr_jax.checkpoints.model import StoredModel, open_model
from diffmvr_jax.config import Config, to_json
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import make_folder, replacing, write_atomically
from diffmvr_jax.weights import clip_keys, diffusers_keys, taesd_keys
from diffmvr_jax.weights.diffusers_configs import write_configs
from diffmvr_jax.weights.diffusers_keys import branch_of
from diffmvr_jax.weights.files import write_safetensors
from diffmvr_jax.weights.ip_adapter_keys import (
  cross_attention_layers,
  ip_adapter,
)
from diffmvr_jax.weights.key_table import Entry, Table, structural
from diffmvr_jax.weights.sidecar import SIDECAR, SIDECAR_CONFIG

# What tensors are written as, and what safetensors calls that.
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_KEPT = ("unet", "guidance", "scaling_factor", "prompts", "prompt_tokens")
_KEPT_TOWERS = ("clip_", "text_encoder")
_WEIGHTS = "diffusion_pytorch_model.safetensors"


def export_checkpoint(
  workdir: Path, out: Path, dtype: str = "float32"
) -> list[str]:
  """Writes a folder in diffusers' layout, whole or not at all.

  One tensor is in memory at a time.

  Args:
    workdir: directory of a training run, or of an import.
    out: folder to write; must not exist.
    dtype: one of `DTYPES`; the sidecar is always float32.

  Returns:
    What stock tools cannot do with it, and what was written, a line each.

  Raises:
    InputError: there is no checkpoint, `out` exists, or the model has parts
      that diffusers lacks.
  """
  model = open_model(workdir)
  if out.exists():
    raise InputError(f"{out}: exists; name another folder")
  _refuse_unknown_parts(model.config)
  make_folder(out.parent)
  code = DTYPES[dtype]
  with replacing(out) as unfinished:
    if "unet" in model.shapes:
      _export_unet(model, unfinished, code)
    if "autoencoder" in model.shapes:
      _export_autoencoder(model, unfinished, code)
    if "clip" in model.shapes:
      _export_clip(model, unfinished, code)
    notes = [f"wrote {out} (step {model.step}, {dtype})"]
    reason = _why_no_adapter(model)
    if reason is None:
      _export_adapter(model, unfinished, code)
    else:
      notes.insert(0, f"no IP-Adapter file: {reason}")
    _export_sidecar(model, unfinished)
    write_configs(model, unfinished)
  return notes


def _refuse_unknown_parts(config: Config) -> None:
  unet, autoencoder = config.model.unet, config.model.autoencoder
  for key, wrong in (
    (
      f"diffusion.anchor={config.diffusion.anchor}",
      config.diffusion.anchor != "none",
    ),
    ("model.fusion", config.model.fusion is not None),
    ("model.unet.query_position=True", unet.query_position),
    ("model.unet.norm_groups=0", not unet.norm_groups),
    (
      "model.autoencoder.norm_groups=0",
      autoencoder.family == "kl" and not autoencoder.norm_groups,
    ),
  ):
    if wrong:
      raise InputError(f"{key}: diffusers has nothing like it; not exported")


def _export_unet(model: StoredModel, out: Path, dtype: str) -> None:
  first = model.config.model.unet.branches[0]
  table = [
    entry
    for entry in _table(model, "unet", diffusers_keys.unet)
    if branch_of(entry) in (None, first)
  ]
  _write(model, out / "unet" / _WEIGHTS, table, dtype, _scales(model, first))


def _export_autoencoder(model: StoredModel, out: Path, dtype: str) -> None:
  if not model.config.model.autoencoder.pooled_blocks:
    table = _table(model, "autoencoder", diffusers_keys.autoencoder)
    _write(model, out / "vae" / _WEIGHTS, table, dtype)
    return
  # diffusers has no such blocks; these are the files of TAESD's own code.
  for half in ("encoder", "decoder"):
    build = partial(taesd_keys.half_table, half=half)
    table = _table(model, "autoencoder", build)
    _write(model, out / "vae" / f"taesd_{half}.safetensors", table, dtype)


def _export_clip(model: StoredModel, out: Path, dtype: str) -> None:
  table = _table(model, "clip", clip_keys.vision)
  _write(model, out / "image_encoder" / "model.safetensors", table, dtype)


def _why_no_adapter(model: StoredModel) -> str | None:
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
  path = out / "ip_adapter" / f"{second}.safetensors"
  table = ip_adapter(model.shapes, second)
  _write(model, path, table, dtype, _scales(model, second))


def _scales(model: StoredModel, branch: str) -> dict[str, np.float32]:
  """α of the branch by the path of each `to_v` that it is folded into."""
  unet = model.config.model.unet
  layers = cross_attention_layers(model.shapes["unet"])
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
    if name in _KEPT or name.startswith(_KEPT_TOWERS)
  }
  first = model.config.model.unet.branches[0]

  def elsewhere(entry: Entry) -> bool:
    if not entry.path.startswith("unet/") or entry.path.endswith("alpha"):
      return False
    branch = branch_of(entry)
    return branch is None or (branch == first and "to_k" in entry.path)

  table = [e for e in structural(kept) if not elsewhere(e)]
  _write(model, out / SIDECAR, table, "F32")
  write_atomically(out / SIDECAR_CONFIG, to_json(model.config))


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
  make_folder(path.parent)
  params = model.stream([entry.path for entry in table])

  def tensors() -> Iterator[tuple[str, np.ndarray]]:
    for entry, param in zip(table, params, strict=True):
      if entry.path in scales:
        param = scales[entry.path] * param
      yield entry.name, entry.to_tensor(param)

  shapes = {entry.name: entry.stored_shape for entry in table}
  write_safetensors(path, shapes, tensors(), dtype)
