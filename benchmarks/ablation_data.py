"""Records for the ablations: real faces, pasted hands, two kinds held out.

  python -m benchmarks.ablation_data my_faces/ --out data/ablation --size 64

Every third person goes to the split `test`: people that a model has never
seen. Of the others, the last quarter in time goes to `validation`, half a
second after the end of what is trained on: known people at another time. Of
what is held out, four seconds of each video are kept.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from data_prep.__main__ import main as data_prep
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.media import video
from diffmvr_jax.media.video_writer import VideoWriter

_LATE = 0.75  # of the duration is trained on
_GAP = 0.5  # seconds left out
_KEPT = 4  # seconds of what is held out
_HELD_OUT = 3  # every so many people


def cut(source: Path, known: bool, folder: Path) -> Iterator[tuple[str, str]]:
  """Writes the parts of a person's video; gives their names and splits."""
  info = video.probe(source)
  total = video.count_frames(source)
  fps = float(info.fps)
  end = int(total * _LATE)
  begin = end + round(_GAP * fps)
  silent = replace(info, has_audio=False)
  parts = {"test": ("", range(total)[: round(_KEPT * fps)])}
  if known:
    parts = {
      "train": ("-early", range(end)),
      "validation": ("-late", range(begin, total)[: round(_KEPT * fps)]),
    }
  for split, (suffix, kept) in parts.items():
    name = f"{source.stem}{suffix}.mkv"
    with VideoWriter(folder / name, silent, lossless=True) as writer:
      for number, frame in enumerate(video.read_frames(source)):
        if number in kept:
          writer.write(frame)
    yield name, split


def main(argv: list[str]) -> None:
  """Cuts the videos and exports them."""
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.ablation_data",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("videos", type=Path, help="folder, a file per person")
  parser.add_argument("--out", type=Path, required=True)
  parser.add_argument("--size", default="64", help="crop side, pixels")
  parser.add_argument("--models", help="folder of MediaPipe's .task files")
  arguments = parser.parse_args(argv)
  sources = sorted(arguments.videos.glob("*.mp4"))
  if len(sources) < _HELD_OUT:
    raise InputError(f"{arguments.videos}: fewer than {_HELD_OUT} MP4 files")
  folder = arguments.out / "videos"
  folder.mkdir(parents=True, exist_ok=True)
  rows, inputs = [], []
  for number, source in enumerate(sources, 1):
    for name, split in cut(source, bool(number % _HELD_OUT), folder):
      rows.append((name, Path(name).stem, split))
      inputs.append(folder / name)
  table = arguments.out / "subjects.csv"
  with table.open("w", newline="") as file:
    csv.writer(file).writerows([("video", "subject", "split"), *rows])
  options = ["--size", arguments.size, "--subjects", str(table)]
  if arguments.models:
    options += ["--models", arguments.models]
  records = arguments.out / "records"
  data_prep(["export", *map(str, inputs), "--out", str(records), *options])
  data_prep(["inspect", str(records)])


if __name__ == "__main__":
  run_command(main)
