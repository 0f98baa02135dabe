"""How fast videos become records, and records become batches.

  python -m benchmarks.data_prep VIDEO… --models DIR [--size 512] [--workers 2]

Videos hold one face each. Occlusions are found with MediaPipe, so both
landmarkers run. Stages are timed one by one in one process, the whole export
as a user runs it, start of the processes included.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from data_prep.detections import Detections, bounding_box
from data_prep.detectors.find_masks import find_masks
from data_prep.detectors.landmarkers import HandDetector
from data_prep.prepare import RealOcclusion, prepare
from data_prep.recipe import Recipe
from data_prep.sources import expand, file_clip
from diffmvr_jax.config import DataConfig
from diffmvr_jax.data.batches import training_batches
from diffmvr_jax.data.record_codec import (
  EncodedFrame,
  FrameRecord,
  decode_frame,
  encode_frame,
)
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource

WINDOW = 8
BATCHES = 40


def main(argv: list[str]) -> None:
  """Prints two tables in Markdown."""
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.data_prep", description=__doc__
  )
  parser.add_argument("videos", nargs="+")
  parser.add_argument("--models", required=True)
  parser.add_argument("--size", type=int, default=512)
  parser.add_argument("--workers", type=int, default=2)
  arguments = parser.parse_args(argv)
  paths = [p for p in expand(arguments.videos) if isinstance(p, Path)]
  size, models = arguments.size, arguments.models
  print("| stage, one process | ms per frame |\n|---|---:|")
  stages = _stages(paths[0], Recipe(size=size, models=models))
  for name, milliseconds in stages.items():
    print(f"| {name} | {milliseconds:.2f} |")

  print("\n| whole | frames/s |\n|---|---:|")
  with tempfile.TemporaryDirectory() as folder:
    for occlusion in ("real", "synthetic"):
      for workers in sorted({1, arguments.workers}):
        out = Path(folder) / f"{occlusion}{workers}"
        speed = _export(
          paths, out, models, occlusion=occlusion, size=size, workers=workers
        )
        print(f"| export, {occlusion}, {workers} workers | {speed:.1f} |")
    for threads in (1, os.cpu_count() or 1):
      speed = _read(out, size, threads)
      print(f"| windows of {WINDOW} read, {threads} threads | {speed:.0f} |")


class _Known:
  """Repeats what a detector said, for timing what follows it."""

  overlooks = False

  def __init__(self, found: dict[int, Detections]):
    self._found = found

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    return self._found[index]

  def close(self) -> None:
    pass


def _stages(path: Path, recipe: Recipe) -> dict[str, float]:
  clip = file_clip(path)
  frames = list(clip.frames())
  faces: dict[int, Detections] = {}
  hands: dict[int, Detections] = {}
  records: list[FrameRecord] = []
  encoded: list[bytes] = []

  def find_faces() -> None:
    with closing(recipe.face_detector()) as detector:
      for frame in frames:
        faces[frame.index] = detector(frame.image, frame.index)

  def find_hands() -> None:
    with closing(HandDetector(recipe.models)) as detector:
      for frame, mask in find_masks(frames, detector):
        hands[frame.index] = Detections(
          boxes=bounding_box(mask)[None], scores=np.ones(1), masks=mask[None]
        )

  def guide() -> None:
    held = dataclasses.replace(clip, frames=lambda: iter(frames))
    occlusion = RealOcclusion(detector=_Known(hands))
    for item in prepare(
      held, size=recipe.size, find_face=_Known(faces), occlusion=occlusion
    ):
      if isinstance(item, FrameRecord):
        records.append(item)

  stages: dict[str, Callable[[], object]] = {
    "decode the video": lambda: [None for _ in clip.frames()],
    "face landmarks": find_faces,
    "hands": find_hands,
    "crop and guidance": guide,
    "encode the record": lambda: encoded.extend(map(encode_frame, records)),
    "decode the record": lambda: [
      decode_frame(EncodedFrame(data)) for data in encoded
    ],
  }
  timings = {}
  for name, work in stages.items():
    start = time.perf_counter()
    work()
    timings[name] = 1e3 * (time.perf_counter() - start) / len(frames)
  return timings


def _export(
  paths: list[Path], out: Path, models: str, *, occlusion: str, **options: int
) -> float:
  """Frames per second of the whole command."""
  command = [sys.executable, "-m", "data_prep", "export", *map(str, paths)]
  command += ["--out", str(out), "--models", models, "--occlusion", occlusion]
  for name, value in options.items():
    command += [f"--{name}", str(value)]
  start = time.perf_counter()
  subprocess.run(command, check=True, capture_output=True)
  seconds = time.perf_counter() - start
  return sum(len(RecordSource(out, s)) for s in ("train", "test")) / seconds


def _read(folder: Path, size: int, threads: int) -> float:
  """Frames per second, decoded and batched."""
  source = WindowSource(
    RecordSource(folder, "train"), window=WINDOW, stride=1, image_size=size
  )
  config = DataConfig(path=str(folder), image_size=size, threads=threads)
  batches = training_batches(source, config, batch_size=1, seed=0)
  next(batches)
  start = time.perf_counter()
  for _ in range(BATCHES):
    next(batches)
  return BATCHES * WINDOW / (time.perf_counter() - start)


if __name__ == "__main__":
  main(sys.argv[1:])
