"""Writes a data set's clips as pictures, which other methods read.

  python -m launch.baselines.frames --data DIR --split test --out DIR

`OUT/frames/CLIP/00000.png` are the occluded frames, `OUT/masks/CLIP/00000.png`
white on the occlusion. The scripts beside this file run a method on them;
`python -m diffmvr_jax.evaluate … --external NAME=DIR` measures what it made.
"""

import argparse
import shutil
from pathlib import Path

from diffmvr_jax.command_line.arguments import ArgumentParser
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.errors import run_command
from diffmvr_jax.media.pictures import write_pictures


def write_clips(data: Path, split: str, out: Path) -> None:
  """Writes frames and masks of every clip.

  Raises:
    InputError: no such records.
    OSError: the disk does not take them; the clips before are complete.
  """
  records = RecordSource(data, split)
  for name, positions in progress_bar(
    list(records.videos()), desc="clips", unit="video"
  ):
    clip = read_frames(records, list(positions))
    for kind, images in (
      ("frames", clip["frame"]),
      ("masks", clip["mask"] * 255),
    ):
      folder = out / kind / name
      shutil.rmtree(folder, ignore_errors=True)  # of an earlier export
      write_pictures(folder, images)


def main(argv: list[str]) -> None:
  """Parses the arguments and writes the pictures."""
  parser = ArgumentParser(
    prog="python -m launch.baselines.frames",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--data", type=Path, required=True)
  parser.add_argument("--split", default="test")
  parser.add_argument("--out", type=Path, required=True)
  arguments = parser.parse_args(argv)
  write_clips(arguments.data, arguments.split, arguments.out)


if __name__ == "__main__":
  run_command(main)
