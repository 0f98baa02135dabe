"""Command line of the data preparation: `python -m data_prep export …`."""

import argparse
from contextlib import ExitStack, closing
from pathlib import Path

from data_prep.detectors import FaceDetector, HandDetector
from data_prep.export import export
from diffmvr_jax.errors import InputError, run_command


def main(argv: list[str]) -> None:
  """Parses the arguments and runs the chosen command."""
  parser = argparse.ArgumentParser(prog="python -m data_prep")
  commands = parser.add_subparsers(dest="command", required=True)
  command = commands.add_parser(
    "export", help="videos to TFRecords with masks and guidance"
  )
  command.add_argument(
    "videos",
    nargs="+",
    metavar="VIDEO",
    help="files, folders, or procedural:FIRST-LAST for drawn faces",
  )
  command.add_argument("--out", type=Path, required=True)
  command.add_argument(
    "--size", type=int, default=512, help="crop side, pixels"
  )
  command.add_argument(
    "--occlusion",
    choices=["synthetic", "real"],
    default="synthetic",
    help="paste hands (gives ground truth) or find real ones",
  )
  command.add_argument(
    "--test-share", type=float, default=0.1, help="videos held out"
  )
  command.add_argument("--seed", type=int, default=0)
  command.add_argument(
    "--models", type=Path, help="folder of MediaPipe's .task files"
  )
  arguments = parser.parse_args(argv)
  if not 0 <= arguments.test_share < 1:
    raise InputError(f"--test-share {arguments.test_share}: not in [0, 1)")
  if not 16 <= arguments.size <= 2048:
    raise InputError(f"--size {arguments.size}: not in [16, 2048]")
  synthetic = arguments.occlusion == "synthetic"
  drawn = all(name.startswith("procedural:") for name in arguments.videos)
  if drawn and not synthetic:
    raise InputError("procedural videos have only --occlusion synthetic")
  with ExitStack() as stack:
    find_face = find_hand = None
    if not drawn:
      find_face = stack.enter_context(closing(FaceDetector(arguments.models)))
    if not synthetic:
      find_hand = stack.enter_context(closing(HandDetector(arguments.models)))
    export(
      arguments.videos,
      arguments.out,
      size=arguments.size,
      synthetic=synthetic,
      find_face=find_face,
      find_occluder=find_hand,
      test_share=arguments.test_share,
      seed=arguments.seed,
    )


if __name__ == "__main__":
  run_command(main)
