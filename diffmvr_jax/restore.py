"""Restores a video.

  python -m diffmvr_jax.restore VIDEO --checkpoint DIR --out FILE

Finds face and hands, builds the guidance, fills what is occluded and pastes
it back. Frames without occlusion pass through untouched; elsewhere only
pixels inside the feathered mask change. Size, frame count, timestamps and
audio are the source's.
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from diffmvr_jax.data.records import FrameRecord
from diffmvr_jax.data.windows import stack_frames
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.inference import video
from diffmvr_jax.inference.paste import paste
from diffmvr_jax.inference.restorer import Restorer


def restore_video(
  source: Path,
  frames: list[FrameRecord],
  restorer: Restorer,
  out: Path,
  *,
  seed: int = 0,
  lossless: bool = False,
) -> int:
  """Restores the crops and writes the video.

  Args:
    source: the video.
    frames: its prepared frames, all of them, in order.
    restorer: the model.
    out: the file to write.
    seed: the same seed gives the same pixels.
    lossless: encode without loss.

  Returns:
    How many frames were changed.
  """
  clip = stack_frames(frames, lambda record: frames[record.past_index].image)
  restored = restorer(clip, seed)
  changed = 0
  with video.VideoWriter(
    out, video.probe(source), lossless=lossless, audio_from=source
  ) as writer:
    for i, timed in enumerate(
      tqdm(
        video.read_frames(source),
        total=len(frames),
        desc="write",
        unit="frame",
        file=sys.stderr,
      )
    ):
      image = timed.image
      if frames[i].mask.any():
        image = paste(
          image, restored[i], frames[i].mask, frames[i].crop_transform
        )
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
    "--models", type=Path, help="folder of MediaPipe's .task files"
  )
  args = parser.parse_args(argv)
  if args.out.resolve() == args.video.resolve():
    raise InputError(f"{args.out}: would overwrite the source")
  video.probe(args.video)  # a bad file is refused before anything is loaded
  restorer = Restorer.from_checkpoint(args.checkpoint)

  from data_prep.detectors import FaceDetector, HandDetector
  from data_prep.prepare import prepare
  from data_prep.sources import file_clip

  with (
    closing(FaceDetector(args.models)) as find_face,
    closing(HandDetector(args.models)) as find_hand,
  ):
    prepared = prepare(
      file_clip(args.video, find_face),
      size=restorer.config.data.image_size,
      find_occluder=find_hand,
    )
    frames = list(tqdm(prepared, desc="prepare", unit="frame", file=sys.stderr))
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
    f"{args.out}: {changed} of {len(frames)} frames restored, "
    f"{100 * share:.1f} % of the crop's pixels on average"
  )


if __name__ == "__main__":
  run_command(main)
