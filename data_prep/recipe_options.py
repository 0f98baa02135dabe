"""Options of `export` and `annotate`: what is prepared, and how."""

import argparse
from typing import get_args

from data_prep.dataset.finish import Splitting
from data_prep.faces.aligned import Aligned
from data_prep.faces.track import LOOKAHEAD
from data_prep.occlusion import objects
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.recipe import Recipe
from diffmvr_jax.buckets import place
from diffmvr_jax.command_line.arguments import (
  number,
  number_range,
  seed,
  whole,
)
from diffmvr_jax.command_line.bounds import Bounds
from diffmvr_jax.command_line.terminal import add_verbose_option

_SHARE = Bounds(0, 1, below_high=True)
_SECONDS = Bounds(0, 3600)


def add_recipe_options(command: argparse.ArgumentParser) -> None:
  """Adds the options to a command."""
  command.add_argument(
    "videos",
    nargs="+",
    metavar="VIDEO",
    help="files, folders (of export also in gs:// and s3://), stills:DIR for "
    "still images of different people, portraits:DIR for clips drawn from "
    "still portraits, or procedural:FIRST-LAST for drawn faces",
  )
  command.add_argument("--out", type=place, required=True, metavar="DIR")
  command.add_argument(
    "--occlusion",
    choices=["synthetic", "real"],
    default="synthetic",
    help="paste something (gives ground truth), or find what is there",
  )
  command.add_argument(
    "--face",
    default="mediapipe",
    help="mediapipe, or yolo:WEIGHTS.pt[#CLASS][@SCORE]",
  )
  command.add_argument(
    "--occluder",
    default="mediapipe",
    help="what finds real occlusion: mediapipe (hands), "
    "yolo:WEIGHTS.pt[#CLASS][@SCORE], or masks:PATH (video, folder of images, "
    "image, or a folder of these)",
  )
  command.add_argument(
    "--mask",
    choices=["irregular", "box"],
    default="irregular",
    help="outline of what covers the face, or the box around it",
  )
  command.add_argument(
    "--paste",
    default="hand",
    help="comma-separated: hand, box, strokes, objects or one of "
    f"{', '.join(objects.KINDS)}; sprites:DIR (RGBA pictures; hands take the "
    "person's skin, and get an arm)",
  )
  command.add_argument(
    "--occlusion-ratio",
    type=number_range(Bounds(0, 1, above_low=True)),
    default=OcclusionConfig.ratio,
    metavar="LOW-HIGH",
    help="share of the face that a resting shape covers (0.15-0.5)",
  )
  command.add_argument(
    "--occlusion-seconds",
    type=number_range(_SECONDS),
    default=OcclusionConfig.seconds,
    metavar="LOW-HIGH",
    help="how long it rests (0.25-0.8)",
  )
  command.add_argument(
    "--occlusion-pause",
    type=number_range(_SECONDS),
    default=OcclusionConfig.pause,
    metavar="LOW-HIGH",
    help="seconds between two of them (0.15-0.6)",
  )
  command.add_argument("--validation-share", type=number(_SHARE), default=0.0)
  command.add_argument(
    "--subjects", help="CSV with columns video, subject and perhaps split"
  )
  command.add_argument(
    "--subject-pattern",
    metavar="REGEX",
    help="finds the subject in a video's name: '^S[0-9]+' is S024 in "
    "S024_Pain_20s.mp4",
  )
  command.add_argument("--seed", type=seed, default=0)
  command.add_argument("--models", help="folder of MediaPipe's .task files")
  command.add_argument(
    "--flow-prior",
    default="faces",
    metavar="faces|none|FILE",
    help="how faces move, which helps to propagate what was seen: as the "
    "package knows it (faces), or as fit-flow-prior wrote it",
  )
  command.add_argument(
    "--aligned",
    choices=get_args(Aligned),
    default="sources",
    help="aligned guidance in the records: none, the propagated image, or the "
    "frames that it was made of as well, which a fusion needs (sources)",
  )
  command.add_argument(
    "--lookahead",
    type=whole(0, 2**16),
    default=LOOKAHEAD,
    help="frames that each one waits for: 12 steady the crop, and more may "
    f"show what is covered now, as recordings are restored ({LOOKAHEAD})",
  )
  add_verbose_option(command)


def recipe_of(arguments: argparse.Namespace) -> Recipe:
  """What the options say of how videos are prepared."""
  paste = None
  if arguments.occlusion == "synthetic":
    paste = OcclusionConfig(
      kinds=tuple(arguments.paste.split(",")),
      ratio=arguments.occlusion_ratio,
      seconds=arguments.occlusion_seconds,
      pause=arguments.occlusion_pause,
    )
  return Recipe(
    size=arguments.size,
    face=arguments.face,
    occluder=arguments.occluder,
    as_boxes=arguments.mask == "box",
    paste=paste,
    models=arguments.models,
    seed=arguments.seed,
    flow_prior=arguments.flow_prior,
    aligned=arguments.aligned,
    lookahead=arguments.lookahead,
    fps=arguments.fps,
    still_seconds=arguments.expand_stills,
  )


def splitting_of(arguments: argparse.Namespace) -> Splitting:
  """What they say of how videos are divided into splits."""
  return Splitting(
    validation_share=arguments.validation_share,
    test_share=arguments.test_share,
    subjects=arguments.subjects,
    subject_pattern=arguments.subject_pattern,
    seed=arguments.seed,
  )
