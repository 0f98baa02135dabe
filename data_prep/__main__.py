"""Prepares videos for training: the command line.

python -m data_prep export VIDEO… --out DIR      videos to TFRecords
python -m data_prep inspect DIR                  counts, checksums, pictures
python -m data_prep annotate VIDEO… --out DIR    a YOLO data set to correct
python -m data_prep train-detector --data FILE   YOLO on such a data set
python -m data_prep score-detector --data DIR    a detector's errors
python -m data_prep fit-flow-prior portraits:DIR --out FILE
                                                 how faces move
"""

import sys
from pathlib import Path

from data_prep.dataset.annotate import annotate
from data_prep.dataset.check import inspect
from data_prep.dataset.export import export
from data_prep.dataset.score import score_detectors, table
from data_prep.detectors import yolo
from data_prep.drawn_clips import PortraitSource
from data_prep.portraits.fit_flow_prior import fit_flow_prior
from data_prep.recipe_options import (
  add_recipe_options,
  recipe_of,
  splitting_of,
)
from data_prep.sources import expand
from diffmvr_jax.command_line.arguments import (
  ArgumentParser,
  add_engine_option,
  number,
  seed,
  share_of_tasks,
  whole,
)
from diffmvr_jax.command_line.bounds import Bounds
from diffmvr_jax.command_line.terminal import add_verbose_option
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.files import make_folder

_SHARE = Bounds(0, 1, below_high=True)
_SECONDS = Bounds(0, 3600)


def main(argv: list[str]) -> None:
  """Parses the arguments and runs the chosen command.

  Ends with code 1 if a video failed or a record is damaged.
  """
  parser = ArgumentParser(prog="python -m data_prep")
  commands = parser.add_subparsers(dest="command", required=True)
  _add_export(commands)
  _add_inspect(commands)
  _add_annotate(commands)
  _add_train(commands)
  _add_score(commands)
  _add_fit_flow_prior(commands)
  arguments = parser.parse_args(argv)
  failures = arguments.run(arguments)
  if failures:
    print(f"error: {failures} failed, see above", file=sys.stderr)
    sys.exit(1)


def _add_export(commands) -> None:
  command = commands.add_parser(
    "export", help="videos to TFRecords with masks and guidance"
  )
  add_recipe_options(command)
  command.add_argument(
    "--size", type=whole(16, 2048), default=512, help="crop side, pixels (512)"
  )
  command.add_argument("--test-share", type=number(_SHARE), default=0.1)
  command.add_argument(
    "--workers", type=whole(1, 1024), default=1, help="processes"
  )
  add_engine_option(command)
  command.add_argument(
    "--shard",
    type=share_of_tasks,
    default=(0, 1),
    metavar="I/N",
    help="this task of a cluster array, from 0; a last run without it "
    "completes the data set",
  )
  command.add_argument(
    "--clips-per-portrait",
    type=whole(1, 10_000),
    default=1,
    metavar="N",
    help="how many clips portraits:DIR draws of each person (1)",
  )
  command.add_argument(
    "--fps",
    type=number(Bounds(0, 1000, above_low=True)),
    help="frames per second that are taken of each video (all of its own)",
  )
  command.add_argument(
    "--expand-stills",
    type=_seconds,
    default=0.0,
    metavar="20s",
    help="length of the static video that each of stills:DIR becomes (one "
    "frame)",
  )
  command.set_defaults(run=_export)


def _export(arguments) -> int:
  failed = export(
    arguments.videos,
    arguments.out,
    recipe_of(arguments),
    splitting_of(arguments),
    workers=arguments.workers,
    engine=arguments.engine,
    shard=arguments.shard,
    clips_per_portrait=arguments.clips_per_portrait,
  )
  for line in failed:
    print(f"failed: {line}", file=sys.stderr)
  return len(failed)


def _add_inspect(commands) -> None:
  command = commands.add_parser(
    "inspect", help="counts, checksums and a contact sheet per split"
  )
  command.add_argument("folder", type=Path)
  command.set_defaults(run=lambda arguments: inspect(arguments.folder))


def _add_annotate(commands) -> None:
  command = commands.add_parser(
    "annotate", help="a YOLO data set, as a start for hand labelling"
  )
  add_recipe_options(command)
  command.add_argument(
    "--task", choices=["detect", "segment"], default="detect"
  )
  command.add_argument(
    "--every", type=whole(1), default=5, help="distance between frames (5)"
  )
  command.add_argument(
    "--cluttered",
    type=number(Bounds(0, 1)),
    default=0.0,
    metavar="SHARE",
    help="share of the training pictures that get a background of blotches, "
    "half of them of skin's colour, which are no occluders (0)",
  )
  # Sprites get this size; the pictures keep the size of their video.
  command.set_defaults(
    run=_annotate, size=384, test_share=0.0, fps=None, expand_stills=0.0
  )


def _annotate(arguments) -> int:
  return annotate(
    arguments.videos,
    arguments.out,
    recipe_of(arguments),
    splitting_of(arguments),
    every=arguments.every,
    outlines=arguments.task == "segment",
    cluttered=arguments.cluttered,
  )


def _add_train(commands) -> None:
  command = commands.add_parser(
    "train-detector", help="a YOLO model on an annotated data set"
  )
  command.add_argument("--data", type=Path, required=True, help="data.yaml")
  command.add_argument(
    "--task", choices=["detect", "segment"], default="detect"
  )
  command.add_argument(
    "--model",
    default="yolov8n.yaml",
    help="an architecture (from scratch) or weights to start from",
  )
  command.add_argument("--out", type=Path, default=Path("runs/detector"))
  command.add_argument("--epochs", type=whole(1), default=100)
  command.add_argument("--image-size", type=whole(32, 8192), default=640)
  command.add_argument("--batch", type=whole(1, 2**16), default=16)
  command.add_argument("--device", help="cpu, 0, 0,1, mps; a GPU if there is")
  command.add_argument("--seed", type=seed, default=0)
  command.set_defaults(run=_train)


def _train(arguments) -> int:
  best = yolo.train(
    arguments.data,
    task=arguments.task,
    model=arguments.model,
    out=arguments.out,
    epochs=arguments.epochs,
    image_size=arguments.image_size,
    batch=arguments.batch,
    device=arguments.device,
    seed=arguments.seed,
  )
  print(f"{best}: use it with --face yolo:{best} --occluder yolo:{best}")
  return 0


def _add_score(commands) -> None:
  command = commands.add_parser(
    "score-detector", help="accuracy and mean IoU on labelled pictures"
  )
  command.add_argument(
    "--data",
    type=Path,
    required=True,
    metavar="LABELS",
    help="folder of images/ with labels/ or masks/ beside it, or its data.yaml",
  )
  command.add_argument("--split", help="folder of images/ (all of them)")
  command.add_argument(
    "--face", help="mediapipe, or yolo:WEIGHTS.pt[#CLASS][@SCORE]"
  )
  command.add_argument(
    "--occluder", help="mediapipe, or yolo:WEIGHTS.pt[#CLASS][@SCORE]"
  )
  command.add_argument(
    "--mask",
    choices=["irregular", "box"],
    default="irregular",
    help="whether outlines are compared, or the boxes around them",
  )
  command.add_argument("--models", help="folder of MediaPipe's .task files")
  add_verbose_option(command)
  command.set_defaults(run=_score)


def _score(arguments) -> int:
  scores = score_detectors(
    arguments.data,
    face=arguments.face,
    occluder=arguments.occluder,
    as_boxes=arguments.mask == "box",
    split=arguments.split,
    models=arguments.models,
  )
  print(table(scores))
  return 0


def _add_fit_flow_prior(commands) -> None:
  command = commands.add_parser(
    "fit-flow-prior", help="how faces move, from clips drawn from portraits"
  )
  command.add_argument("portraits", nargs="+", metavar="portraits:DIR")
  command.add_argument("--out", type=Path, required=True)
  command.add_argument("--seed", type=seed, default=0)
  command.add_argument("--models", help="folder of MediaPipe's .task files")
  add_verbose_option(command)
  command.set_defaults(run=_fit_flow_prior)


def _fit_flow_prior(arguments) -> int:
  found = expand(arguments.portraits)
  paths = [x.path for x in found if isinstance(x, PortraitSource)]
  if len(paths) < len(found):
    raise InputError("a prior of flow is fitted to portraits:DIR only")
  prior = fit_flow_prior(paths, seed=arguments.seed, models=arguments.models)
  make_folder(arguments.out.parent)
  prior.save(arguments.out)
  print(f"{arguments.out}: {len(prior.variances)} components")
  return 0


def _seconds(text: str) -> float:
  seconds = float(text.removesuffix("s"))
  if not 0 < seconds <= 3600:
    raise ValueError(text)
  return seconds


if __name__ == "__main__":
  run_command(main)
