"""Weights in and out: `python -m diffmvr_jax.convert import|export|inspect`.

  import SOURCE… --config FILE --out DIR   PyTorch weights to a checkpoint
  export CHECKPOINT --out DIR              a checkpoint to safetensors
  inspect PATH                             what a file holds

A SOURCE is a diffusers folder (a pipeline, or one of its networks), a single
file of latent diffusion, a CLIP folder, a TAESD file, or an export. Networks
that no source has are left out, and training initialises them.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from diffmvr_jax.checkpoints.model import open_model, save_model
from diffmvr_jax.config import Config, check, from_dict, is_guided, load_config
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.weights.exporting import export, read_config
from diffmvr_jax.weights.files import open_tensors
from diffmvr_jax.weights.importing import Source, plan, read
from diffmvr_jax.weights.layouts import layout_of
from diffmvr_jax.weights.prompt import encode_prompt

_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def main(argv: list[str]) -> None:
  """Parses the arguments and converts."""
  parser = argparse.ArgumentParser(
    prog="python -m diffmvr_jax.convert",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  commands = parser.add_subparsers(required=True, metavar="COMMAND")
  command = commands.add_parser("import", help="PyTorch weights → checkpoint")
  command.add_argument("sources", nargs="+", type=Path, metavar="SOURCE")
  command.add_argument(
    "--config", type=Path, help="the networks; an export brings its own"
  )
  command.add_argument("--out", type=Path, required=True, metavar="DIR")
  command.add_argument(
    "--prompt", help="of a text branch; its encoder is in the diffusers folder"
  )
  command.add_argument(
    "--set", nargs="*", default=[], metavar="KEY=VALUE", dest="overrides"
  )
  command.set_defaults(run=_import)
  command = commands.add_parser("export", help="checkpoint → safetensors")
  command.add_argument("checkpoint", type=Path)
  command.add_argument("--out", type=Path, required=True, metavar="DIR")
  command.add_argument("--dtype", choices=_DTYPES, default="float32")
  command.set_defaults(run=_export)
  command = commands.add_parser("inspect", help="what a file holds")
  command.add_argument("path", type=Path)
  command.set_defaults(run=_inspect)
  arguments = parser.parse_args(argv)
  arguments.run(arguments)


def _import(arguments: argparse.Namespace) -> None:
  out: Path = arguments.out
  if out.exists():
    raise InputError(f"{out}: exists; name another folder")
  config = _config(arguments)
  sources = plan(arguments.sources, config)
  params = read(sources, config)
  if "text" in config.model.unet.branches and "prompt" not in params:
    params["prompt"] = encode_prompt(arguments.sources, arguments.prompt)
  elif arguments.prompt is not None:
    raise InputError("--prompt: the config has no text branch")
  unfinished = out.with_name(out.name + ".partial")
  shutil.rmtree(unfinished, ignore_errors=True)
  save_model(unfinished, config, params)
  unfinished.rename(out)
  for source in sources:
    print(_describe(source))
  needed = {"unet", "autoencoder"}
  if is_guided(config.model.unet.branches):
    needed |= {"clip", "guidance"}
  lacking = needed - params.keys()
  if lacking:
    print(f"left to training: {', '.join(sorted(lacking))}")
  print(f"wrote {out}; train from it with init_from={out}")


def _config(arguments: argparse.Namespace) -> Config:
  if arguments.config is not None:
    return load_config(arguments.config, arguments.overrides)
  for source in arguments.sources:
    stored = read_config(source)
    if stored is not None:
      config = from_dict(stored)
      check(config)
      return config
  raise InputError("--config: give it, for no source is an export with its own")


def _describe(source: Source) -> str:
  values = sum(match.tensor.size for match in source.matches)
  text = (
    f"{source.network}: {len(source.matches)} parameters from "
    f"{source.part.path} ({source.part.layout}, {values / 1e6:.1f} M values)"
  )
  if source.zero_channels:
    text += f"; {source.zero_channels} new input channels start from zero"
  return text


def _export(arguments: argparse.Namespace) -> None:
  model = open_model(arguments.checkpoint)
  for note in export(model, arguments.out, _DTYPES[arguments.dtype]):
    print(note)
  print(f"wrote {arguments.out} (step {model.step}, {arguments.dtype})")


def _inspect(arguments: argparse.Namespace) -> None:
  path: Path = arguments.path
  if (path / "model_index.json").is_file():
    folders = sorted(p.parent for p in path.glob("*/config.json"))
    print(f"{path}: a pipeline of {', '.join(p.name for p in folders)}")
    for folder in folders:
      _print_tensors(folder)
  else:
    _print_tensors(path)


def _print_tensors(path: Path) -> None:
  tensors = open_tensors(path)
  print(f"{path}: {layout_of(tensors) or 'unknown layout'}")
  rows: Sequence[tuple[str, str, str]] = [
    (name, tensor.dtype, "×".join(map(str, tensor.shape)) or "scalar")
    for name, tensor in tensors.items()
  ]
  widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
  for name, dtype, shape in rows:
    print(f"  {name:<{widths[0]}}  {dtype:<{widths[1]}}  {shape}")
  total = sum(tensor.size for tensor in tensors.values())
  print(f"  {len(tensors)} tensors, {total:,} values")


if __name__ == "__main__":
  try:
    run_command(main)
  except BrokenPipeError:
    sys.exit(0)  # `inspect … | head`
