"""Restores a video.

  python -m diffmvr_jax.restore VIDEO --checkpoint DIR --out FILE

Finds face and hands, builds the guidance, fills what is occluded and pastes
it back. Frames without occlusion pass through untouched; elsewhere only
pixels inside the feathered mask change. Size, frame count, timestamps and
audio are the source's. The video is decoded once, and memory does not grow
with its length.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from diffmvr_jax.data.codec import FrameRecord
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.inference import video
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import SourceFrame, restore_stream

if TYPE_CHECKING:
  from data_prep.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Outcome:
  """What `restore_video` did.

  Attributes:
    frames: of the video.
    faces: frames with a face.
    restored: frames that were changed.
  """

  frames: int
  faces: int
  restored: int


def restore_video(
  source: Path,
  frames: Iterable[SourceFrame],
  restorer: Restorer,
  out: Path,
  *,
  seed: int = 0,
  lossless: bool = False,
) -> Outcome:
  """Restores frames as they come, and writes the video.

  Args:
    source: the video, for its properties and its audio.
    frames: of it, in order.
    restorer: the model.
    out: the file to write.
    seed: the same seed gives the same pixels.
    lossless: encode without loss.

  Raises:
    InputError: no frame has a face; nothing is written.
  """
  counts: Counter[str] = Counter()
  estimate = video.frame_estimate(source)
  with (
    video.VideoWriter(
      out, video.probe(source), lossless=lossless, copy_from=source
    ) as writer,
    tqdm(total=estimate or None, unit="frame", file=sys.stderr) as bar,
  ):
    for done in restore_stream(restorer, frames, seed=seed):
      counts["frames"] += 1
      counts["faces"] += done.source.record is not None
      counts["restored"] += done.source.occluded
      writer.write(video.TimedFrame(done.image, done.source.pts))
      bar.update()
    if not counts["faces"]:
      raise InputError(
        f"{source}: no face in any of its {counts['frames']} frames"
      )
  return Outcome(
    frames=counts["frames"],
    faces=counts["faces"],
    restored=counts["restored"],
  )


def source_frames(recipe: "Recipe", path: Path) -> Iterator[SourceFrame]:
  """Decodes and prepares a video, frame by frame.

  Raises:
    InputError: the video or a detector cannot be used.
  """
  time_base = video.probe(path).time_base
  for frame, item in recipe.observed(path):
    record = item if isinstance(item, FrameRecord) else None
    yield SourceFrame(frame.image, int(frame.time / time_base), record)


def main(argv: list[str]) -> None:
  """Parses the arguments and restores."""
  parser = argparse.ArgumentParser(
    prog="python -m diffmvr_jax.restore", description=__doc__
  )
  parser.add_argument("video", type=Path)
  parser.add_argument(
    "--checkpoint", type=Path, required=True, help="workdir of the training"
  )
  parser.add_argument("--out", type=Path, required=True)
  parser.add_argument(
    "--lossless", action="store_true", help="FFV1 in .mkv, else x264 RGB qp 0"
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--face", default="mediapipe", help="or yolo:WEIGHTS.pt[#CLASS]"
  )
  parser.add_argument(
    "--occluder",
    default="mediapipe",
    help="mediapipe (hands), yolo:WEIGHTS.pt[#CLASS], or masks:PATH (video, "
    "folder of images, or image)",
  )
  parser.add_argument(
    "--mask",
    choices=["irregular", "box"],
    default="irregular",
    help="outline or bounding box of the occlusion",
  )
  parser.add_argument("--models", help="folder of MediaPipe's .task files")
  args = parser.parse_args(argv)
  if args.out.resolve() == args.video.resolve():
    raise InputError(f"{args.out}: would overwrite the source")
  video.probe(args.video)  # a bad file is refused before anything is loaded
  restorer = Restorer.from_checkpoint(args.checkpoint)

  from data_prep.recipe import Recipe

  recipe = Recipe(
    size=restorer.config.data.image_size,
    face=args.face,
    occluder=args.occluder,
    as_boxes=args.mask == "box",
    models=args.models,
  )
  recipe.check([args.video])
  outcome = restore_video(
    args.video,
    source_frames(recipe, args.video),
    restorer,
    args.out,
    seed=args.seed,
    lossless=args.lossless,
  )
  print(
    f"{args.out}: {outcome.restored} of {outcome.frames} frames restored, "
    f"{outcome.frames - outcome.faces} without a face"
  )


if __name__ == "__main__":
  run_command(main)
