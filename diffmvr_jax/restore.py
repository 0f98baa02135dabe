r"""Restores a video.

  python -m diffmvr_jax.restore VIDEO --out FILE [--region frame]
  python -m diffmvr_jax.restore VIDEO --checkpoint DIR --out FILE \
    [sampling.steps=10 …]
  python -m diffmvr_jax.restore VIDEO --method propagation --out FILE

Finds face and hands, builds the guidance, fills what is occluded and pastes
it back. Frames without occlusion pass through untouched; elsewhere only
pixels inside the feathered mask change. Size, frame count, timestamps, audio
and subtitles are the source's. The video is decoded once, and memory does not
grow with its length. The file's metadata say that it was restored, from which
checkpoint, and how.

Without `--checkpoint` the model that comes with the package is used.

With `--method propagation` no model is needed: what other frames show is
carried to where it is covered now, and what nobody has seen stays as filmed.
With `--region frame` the occluder is taken out of the whole picture by
propagation; faces are the model's, if there is one, and none is needed.

VIDEO may also be a folder of videos, or a list: a .txt file with a path in each
line. Then --out is a folder, where every video gets the same path, and
manifest.csv a row for each. The same command goes on where it was stopped. With
--engine ray the machines of a Ray cluster share the videos. Both folders
and the model may lie in buckets, gs://… and s3://….

VIDEO may also be a folder of pictures, `-` for raw RGB frames on standard
input (with --size), `camera:0`, or a URL such as rtsp://…; FILE a folder, for
PNG files, or `-`. Where a live source delivers faster than it is restored,
the oldest waiting frames are dropped, and counted. Ctrl-C ends it, and the
file is complete.
"""

import argparse
import sys
from pathlib import Path

from diffmvr_jax.buckets import place
from diffmvr_jax.command_line.arguments import (
  ArgumentParser,
  add_engine_option,
  frame_rate,
  frame_size,
  number,
  seed,
  whole,
)
from diffmvr_jax.command_line.bounds import Bounds
from diffmvr_jax.command_line.terminal import add_verbose_option
from diffmvr_jax.errors import run_command
from diffmvr_jax.inference.finding import LOOKAHEAD
from diffmvr_jax.inference.paste import SOFTNESS
from diffmvr_jax.inference.previews import PreviewPaths
from diffmvr_jax.inference.request import Request, carry_out
from diffmvr_jax.inference.stream import StreamOptions
from diffmvr_jax.pretrained import DEFAULT, PREFIX


def main(argv: list[str]) -> None:
  """Parses the arguments, restores, and prints what was done."""
  args = _parser().parse_intermixed_args(argv)
  file = sys.stderr if args.out == "-" else sys.stdout
  for line in carry_out(_request(args)):
    print(line, file=file)


def _request(args: argparse.Namespace) -> Request:
  return Request(
    video=args.video,
    out=args.out,
    fps=args.fps,
    size=args.size,
    method=args.method,
    checkpoint=args.checkpoint,
    overrides=args.overrides,
    decoder=args.decoder,
    region=args.region,
    finding={
      "face": args.face,
      "which_face": args.which_face,
      "occluder": args.occluder,
      "as_boxes": args.mask == "box",
      "dilation": args.dilate,
      "lookahead": args.lookahead,
      "models": args.models,
      "flow_prior": args.flow_prior,
    },
    engine=args.engine,
    options=StreamOptions(
      seed=args.seed,
      latency=args.latency,
      softness=args.feather,
      samples=args.samples if args.confidence else 1,
    ),
    lossless=args.lossless,
    previews=PreviewPaths(
      mask=args.mask_out,
      guidance=args.guidance_out,
      side_by_side=args.side_by_side,
      confidence=args.confidence,
    ),
  )


def _parser() -> ArgumentParser:
  parser = ArgumentParser(
    prog="python -m diffmvr_jax.restore", description=__doc__
  )
  parser.add_argument("video", help="file, folder, list, -, camera:0 or URL")
  parser.add_argument(
    "--method",
    choices=["model", "propagation"],
    default="model",
    help="a trained model, or what other frames show, carried along by flow",
  )
  parser.add_argument(
    "--checkpoint",
    type=place,
    metavar="DIR|pretrained:NAME",
    help="workdir of the model's training run, or the name of a model that "
    f"comes with the package ({PREFIX}{DEFAULT})",
  )
  parser.add_argument("--out", required=True, help="file, folder for PNG, or -")
  parser.add_argument(
    "--lossless", action="store_true", help="FFV1 in .mkv, else x264 RGB qp 0"
  )
  parser.add_argument("--seed", type=seed, default=0)
  parser.add_argument(
    "--latency",
    type=whole(0, 2**16),
    default=32,
    help="frames that an occluded frame may wait for others (32)",
  )
  parser.add_argument(
    "--lookahead",
    type=whole(0, 2**16),
    default=LOOKAHEAD,
    help="frames that each one waits for, which steady the crop and may show "
    f"what is covered now; 0 for live use ({LOOKAHEAD})",
  )
  parser.add_argument(
    "--decoder",
    metavar="tiny|FILE",
    help="TAESD's decoder, faster than the model's own",
  )
  add_engine_option(parser)
  finding = parser.add_argument_group("what is restored")
  finding.add_argument(
    "--face", default="mediapipe", help="or yolo:WEIGHTS.pt[#CLASS][@SCORE]"
  )
  finding.add_argument(
    "--which-face",
    type=_which,
    default="largest",
    metavar="largest|NUMBER",
    help="which one of several faces; numbers count from the left, from 0",
  )
  finding.add_argument(
    "--occluder",
    metavar="learned|mediapipe|yolo:…|masks:PATH",
    help="the model's own network (learned, if it has one), mediapipe (hands), "
    "yolo:WEIGHTS.pt[#CLASS][@SCORE], or masks:PATH (video, folder of images, "
    "or image); learned,mediapipe is both, and the default if there is such a "
    "network",
  )
  finding.add_argument(
    "--region",
    choices=["face", "frame"],
    default="face",
    help="the face, or the whole picture, around the face by propagation",
  )
  finding.add_argument(
    "--mask",
    choices=["irregular", "box"],
    default="irregular",
    help="outline or bounding box of the occlusion",
  )
  finding.add_argument(
    "--dilate",
    type=whole(0, 2**12),
    default=0,
    help="pixels by which the mask grows (0)",
  )
  finding.add_argument(
    "--feather",
    type=number(Bounds(0, 1)),
    default=SOFTNESS,
    help=f"softness of its border, as a share of the crop's side ({SOFTNESS})",
  )
  finding.add_argument("--models", help="folder of MediaPipe's .task files")
  finding.add_argument(
    "--flow-prior",
    default="faces",
    metavar="faces|none|FILE",
    help="how faces move, which helps to propagate: as the package knows it "
    "(faces), or as data_prep fit-flow-prior wrote it",
  )
  add_verbose_option(parser)
  raw = parser.add_argument_group("pictures and raw frames")
  raw.add_argument("--fps", type=frame_rate, help="frames per second (25)")
  raw.add_argument("--size", type=frame_size, help="WIDTHxHEIGHT of raw frames")
  previews = parser.add_argument_group("previews, each a file or a folder")
  previews.add_argument(
    "--mask-out", type=Path, help="how much of each pixel was replaced"
  )
  previews.add_argument(
    "--guidance-out", type=Path, help="crop, symmetric image, past frame"
  )
  previews.add_argument(
    "--side-by-side", type=Path, help="source and restoration"
  )
  previews.add_argument(
    "--confidence",
    type=Path,
    help="how far samples lie apart, in colours and in an .npz file",
  )
  previews.add_argument(
    "--samples",
    type=whole(1, 1000),
    default=4,
    help="number of samples for --confidence (4)",
  )
  parser.add_argument(
    "overrides", nargs="*", metavar="KEY=VALUE", help="sampling.KEY=VALUE"
  )
  return parser


def _which(text: str) -> str | int:
  return text if text == "largest" else whole(0, 1000)(text)


if __name__ == "__main__":
  run_command(main)
