"""Restores a video.

  python -m diffmvr_jax.restore VIDEO --checkpoint DIR --out FILE

Finds face and hands, builds the guidance, fills what is occluded and pastes
it back. Frames without occlusion pass through untouched; elsewhere only
pixels inside the feathered mask change. Size, frame count, timestamps and
audio are the source's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from diffmvr_jax.data.codec import FrameRecord
from diffmvr_jax.data.windows import stack_frames
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.inference import video
from diffmvr_jax.inference.paste import paste
from diffmvr_jax.inference.restorer import Restorer


def restore_video(
  source: Path,
  frames: Sequence[FrameRecord],
  restorer: Restorer,
  out: Path,
  *,
  seed: int = 0,
  lossless: bool = False,
) -> int:
  """Restores the crops and writes the video.

  Args:
    source: the video.
    frames: its prepared frames in order; those that are missing, for want of
      a face, stay as they are.
    restorer: the model.
    out: the file to write.
    seed: the same seed gives the same pixels.
    lossless: encode without loss.

  Returns:
    How many frames were changed.
  """
  by_index = {frame.frame_index: frame for frame in frames}
  clip = stack_frames(frames, lambda record: by_index[record.past_index].image)
  restored = dict(zip(by_index, restorer(clip, seed), strict=True))
  changed = 0
  with video.VideoWriter(
    out, video.probe(source), lossless=lossless, audio_from=source
  ) as writer:
    for i, timed in enumerate(
      tqdm(
        video.read_frames(source), desc="write", unit="frame", file=sys.stderr
      )
    ):
      image = timed.image
      if i in by_index and by_index[i].mask.any():
        frame = by_index[i]
        image = paste(image, restored[i], frame.mask, frame.crop_transform)
        changed += 1
      writer.write(video.TimedFrame(image, timed.pts))
  return changed


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
  prepared = list(
    tqdm(
      recipe.records(args.video), desc="prepare", unit="frame", file=sys.stderr
    )
  )
  frames = [frame for frame in prepared if isinstance(frame, FrameRecord)]
  if not frames:
    raise InputError(
      f"{args.video}: no face in any of its {len(prepared)} frames"
    )
  changed = restore_video(
    args.video,
    frames,
    restorer,
    args.out,
    seed=args.seed,
    lossless=args.lossless,
  )
  share = np.mean([frame.mask.mean() for frame in frames])
  print(
    f"{args.out}: {changed} of {len(prepared)} frames restored, "
    f"{100 * share:.1f} % of the crop's pixels on average"
  )


if __name__ == "__main__":
  run_command(main)
