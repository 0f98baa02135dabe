"""Weights in and out: `python -m diffmvr_jax.convert COMMAND`.

  import SOURCE… --config FILE --out DIR   PyTorch weights to a checkpoint
  export CHECKPOINT --out DIR              a checkpoint to safetensors
  pretrained CHECKPOINT --out FILE         a checkpoint to one small file
  inspect PATH                             what a file holds

A SOURCE is a diffusers folder (a pipeline, or one of its networks), a single
file of latent diffusion, a CLIP folder, a TAESD file, or an export. Networks
that no source has are left out, and training initialises them.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from diffmvr_jax.command_line.arguments import ArgumentParser
from diffmvr_jax.errors import run_command
from diffmvr_jax.weights.exporting import DTYPES, export_checkpoint
from diffmvr_jax.weights.importing import import_model
from diffmvr_jax.weights.inspecting import describe_weights
from diffmvr_jax.weights.shipping import write_pretrained


def main(argv: list[str]) -> None:
  """Parses the arguments and converts."""
  args = _parser().parse_args(argv)
  for line in args.run(args):
    print(line)


def _parser() -> ArgumentParser:
  parser = ArgumentParser(
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
    "--class-prompt",
    default="",
    help="of images that show the class alone, for prior preservation",
  )
  command.add_argument(
    "--set", nargs="*", default=[], metavar="KEY=VALUE", dest="overrides"
  )
  command.set_defaults(run=_import)
  command = commands.add_parser("export", help="checkpoint → safetensors")
  command.add_argument("checkpoint", type=Path)
  command.add_argument("--out", type=Path, required=True, metavar="DIR")
  command.add_argument("--dtype", choices=DTYPES, default="float32")
  command.set_defaults(run=_export)
  command = commands.add_parser(
    "pretrained", help="checkpoint → a small file, with what restoring needs"
  )
  command.add_argument("checkpoint", type=Path)
  command.add_argument("--out", type=Path, required=True, metavar="FILE")
  command.add_argument(
    "--set",
    nargs="*",
    default=[],
    metavar="sampling.KEY=VALUE",
    dest="overrides",
    help="the file's own settings, such as sampling.steps=0",
  )
  command.add_argument(
    "--with",
    nargs="*",
    type=Path,
    default=[],
    metavar="CHECKPOINT",
    dest="others",
    help="checkpoints with a painter or an occluder that this one lacks",
  )
  command.set_defaults(run=_pretrained)
  command = commands.add_parser("inspect", help="what a file holds")
  command.add_argument("path", type=Path)
  command.set_defaults(run=_inspect)
  return parser


def _import(args: argparse.Namespace) -> Iterable[str]:
  return import_model(
    args.sources,
    args.out,
    config_file=args.config,
    overrides=args.overrides,
    prompt=args.prompt,
    class_prompt=args.class_prompt,
  )


def _export(args: argparse.Namespace) -> Iterable[str]:
  return export_checkpoint(args.checkpoint, args.out, args.dtype)


def _pretrained(args: argparse.Namespace) -> Iterable[str]:
  return write_pretrained(
    args.checkpoint, args.out, args.overrides, others=args.others
  )


def _inspect(args: argparse.Namespace) -> Iterable[str]:
  return describe_weights(args.path)


if __name__ == "__main__":
  run_command(main)
