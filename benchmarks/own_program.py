"""Runs ours, or diffusers' pipeline, on a clip, as often as it is asked to.

  python -m benchmarks.own_program ours|diffusers --size 128 --frames 24 …

`beside_others.py` starts it, and says what is run. Each line of JSON on
standard input asks for another run, and one on standard output answers it:
seconds, and what was made.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.drawn_clips import PortraitSource
from data_prep.faces.aligned import LOOKS, AlignedGuidance
from data_prep.faces.flow_prior import open_flow_prior
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.recipe import Recipe
from diffmvr_jax.config import load_config
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.finding import LIVE
from diffmvr_jax.inference.fine_filling import FineFiller, filler_of
from diffmvr_jax.inference.stream import (
  SourceFrame,
  StreamOptions,
  restore_stream,
)
from diffmvr_jax.media.ahead import ahead
from launch.demo import PERSON, write_photograph

OVERLAP, UNSEEN = "stages overlap", "nothing seen before"
_HAND = OcclusionConfig(ratio=(0.3, 0.5), seconds=(1.2, 1.2), pause=(0.4, 0.4))

# Takes what a case asks for; gives seconds, and the frames that were made.
Run = Callable[[dict[str, Any]], tuple[float, np.ndarray]]


def main(argv: list[str]) -> None:
  """Answers each request on standard input with a run."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("program", choices=["ours", "diffusers"])
  parser.add_argument("--size", type=int, required=True)
  parser.add_argument("--frames", type=int, required=True)
  parser.add_argument("--checkpoint", required=True)
  parser.add_argument("--config", type=Path, required=True)
  args = parser.parse_args(argv)
  free, covered = clip(args.size, args.frames)
  if args.program == "ours":
    run = ours(args, free, covered)
  else:
    run = diffusers(args, covered)
  masks = np.stack([record.mask for record in covered]) > 0
  given = np.stack([record.image for record in covered])
  for line in sys.stdin:
    seconds, made = run(json.loads(line))
    painted = float((made != given)[masks].mean())
    answer = {"seconds": seconds, "shape": made.shape, "painted": painted}
    print(json.dumps(answer), flush=True)


def clip(size: int, count: int) -> tuple[list[FrameRecord], list[FrameRecord]]:
  """Crops of a face: those that are free, and `count` covered ones after them.

  Raises:
    InputError: there are not so many, or scikit-image is not installed.
  """
  recipe = Recipe(size=size, paste=_HAND, aligned="none")
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / f"{PERSON}.png"
    write_photograph(path)
    records = list(recipe.records(PortraitSource(path)))
  # The frames are the crops themselves.
  own = np.eye(2, 3, dtype=np.float32)
  crops = [
    dataclasses.replace(record, crop_transform=own)
    for record in records
    if isinstance(record, FrameRecord)
  ]
  free = [crop for crop in crops if not crop.mask.any()]
  if count > len(crops) - len(free):
    raise InputError(f"--frames {count}: {len(crops) - len(free)} are covered")
  return free, crops[len(free) : len(free) + count]


def threads() -> int:
  """How many cores there are for this process and those it starts."""
  return len(os.sched_getaffinity(0))


def ours(
  args: argparse.Namespace, free: list[FrameRecord], covered: list[FrameRecord]
) -> Run:
  """The shipped model; `beside_others.py` says what its cases are."""
  fillers: dict[int, CropRestorer | FineFiller] = {}
  network = load_config(args.config).data.image_size
  prior = open_flow_prior("faces")

  def filler(window: int) -> CropRestorer | FineFiller:
    if window not in fillers:
      own = [f"detail={args.size // network}", f"window={window}"]
      settings = [f"sampling.{setting}" for setting in own]
      restorer = CropRestorer.from_checkpoint(args.checkpoint, settings)
      fillers[window] = filler_of(restorer)
    return fillers[window]

  def run(request: dict[str, Any]) -> tuple[float, np.ndarray]:
    window, begun = request["window"], [0.0]
    fill, live = filler(window), window == 1
    # As `Restorer` does it: finer where there is time.
    side = network if live and args.size != network else None
    looks = LIVE["looks"] if live else LOOKS
    wanted: Any = fill.aligned
    align = AlignedGuidance(wanted, prior, side, looks)
    before = [] if request.get(UNSEEN) else free

    def observed() -> Iterator[SourceFrame]:
      for record in (*before, *covered):
        if record is covered[0]:
          begun[0] = time.perf_counter()
        guidance = align(record.image, record.mask, record.frame_index)
        if not before:
          guidance["past_index"] = -1
        done = dataclasses.replace(record, **guidance)
        yield SourceFrame(record.image, record.frame_index, done)

    frames = observed()
    if request.get(OVERLAP):
      frames = ahead(frames)
    options = StreamOptions(latency=0) if live else StreamOptions()
    images = [done.image for done in restore_stream(fill, frames, options)]
    seconds = time.perf_counter() - begun[0]
    return seconds, np.stack(images[len(before) :])

  return run


def diffusers(args: argparse.Namespace, covered: list[FrameRecord]) -> Run:
  """Diffusers' pipeline, which sees a window of frames at once."""
  import torch

  from benchmarks.diffusers_inpainting import Inpainting

  torch.set_num_threads(threads())
  pipeline = Inpainting(load_config(args.config))
  frames = [SourceFrame(x.image, x.frame_index, x) for x in covered]

  def run(request: dict[str, Any]) -> tuple[float, np.ndarray]:
    made, window = [], request["window"]
    begun = time.perf_counter()
    for start in range(0, len(frames), window):
      made.append(pipeline(frames[start : start + window], request["steps"]))
    seconds = time.perf_counter() - begun
    return seconds, np.round(255 * np.concatenate(made)).astype(np.uint8)

  return run


if __name__ == "__main__":
  run_command(main)
