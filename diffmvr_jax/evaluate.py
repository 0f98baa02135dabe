"""Measures trained models, or restored videos, against the truth.

  python -m diffmvr_jax.evaluate --checkpoint DIR --data DIR --out DIR
  python -m diffmvr_jax.evaluate --prediction P --target T [--mask M]

The first restores the held-out clips of a data set with the model, with
training-free baselines, with other models (`--model NAME=DIR`), and takes what
other methods made of them (`--external NAME=DIR`, a video or a folder of
pictures for each clip). It writes `metrics.json`, `sheet.png`, `restored.mp4`
and `report.html`. The second compares videos, folders of pictures, or folders
of either. Weights of FID, FVD, LPIPS and identity are looked for in
`--weights`, `DIFFMVR_MODELS` and `~/.cache/diffmvr`; a metric without them is
named, with where to get them. With --engine ray the machines of a Ray cluster
share the clips, or the videos. Models, and folders of data, videos and results
may lie in buckets, gs:// and s3://; the metrics' weights may not.
"""

import argparse
from pathlib import Path

import jax

from diffmvr_jax.buckets import Place, place
from diffmvr_jax.command_line.arguments import (
  ArgumentParser,
  add_engine_option,
  seed,
)
from diffmvr_jax.command_line.terminal import add_verbose_option
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.evaluation.records import evaluate_records
from diffmvr_jax.evaluation.summary import METRICS, as_text
from diffmvr_jax.evaluation.videos import evaluate_videos
from diffmvr_jax.runtime.processes import initialize


def main(argv: list[str]) -> None:
  """Parses the arguments and evaluates."""
  args = _parser().parse_args(argv)
  if args.engine is not None:
    # The cluster's workers get the GPUs, this process draws and writes.
    jax.config.update("jax_platforms", "cpu")
  if args.data and args.out:
    if args.engine is None:
      initialize()
    summary = evaluate_records(
      args.checkpoint,
      args.data,
      args.split,
      args.out,
      args.seed,
      models=args.model,
      external=args.external,
      weights=args.weights,
      metrics=args.metrics,
      against_original=args.against_original,
      engine=args.engine,
    )
  elif args.prediction and args.target:
    summary = evaluate_videos(
      args.prediction,
      args.target,
      args.mask,
      out=args.out,
      weights=args.weights,
      metrics=args.metrics,
      engine=args.engine,
    )
  else:
    raise InputError(
      "give either --data and --out, with --checkpoint, --model or --external "
      "if there are any, or --prediction and --target"
    )
  if jax.process_index() == 0:
    print(as_text(summary))


def _parser() -> ArgumentParser:
  parser = ArgumentParser(
    prog="python -m diffmvr_jax.evaluate",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--checkpoint",
    type=place,
    metavar="DIR|pretrained:NAME",
    help="directory of the training run, or a model of the package",
  )
  parser.add_argument("--data", type=place, help="folder of records")
  parser.add_argument("--split", default="test")
  parser.add_argument("--out", type=place, help="folder for what is written")
  parser.add_argument("--seed", type=seed, default=0)
  parser.add_argument(
    "--model",
    type=_name_and_folder,
    action="append",
    default=[],
    metavar="NAME=DIR",
    help="another model, such as a text-guided one",
  )
  parser.add_argument(
    "--external",
    type=_name_and_folder,
    action="append",
    default=[],
    metavar="NAME=DIR",
    help="what another method made of the clips",
  )
  parser.add_argument(
    "--against-original",
    action="store_true",
    help="takes the covered frame itself for the truth of records without one, "
    "as the paper does",
  )
  parser.add_argument("--prediction", type=place, help="restored video(s)")
  parser.add_argument("--target", type=place, help="true video(s)")
  parser.add_argument("--mask", type=place, help="white on the occlusion")
  parser.add_argument(
    "--weights", type=Path, help="folder of the metrics' networks"
  )
  parser.add_argument(
    "--metrics",
    type=_metrics,
    default=METRICS,
    help="comma-separated; all of them if not given",
  )
  add_engine_option(parser)
  add_verbose_option(parser)
  return parser


def _name_and_folder(text: str) -> tuple[str, Place]:
  name, separator, folder = text.partition("=")
  if not (separator and name and folder):
    raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
  return name, place(folder)


def _metrics(text: str) -> list[str]:
  names = text.split(",")
  for name in names:
    if name not in METRICS:
      raise argparse.ArgumentTypeError(
        f"no metric {name!r}; there are {', '.join(METRICS)}"
      )
  return names


if __name__ == "__main__":
  run_command(main)
