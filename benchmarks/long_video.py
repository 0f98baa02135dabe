r"""Restores an hour of video, and watches memory.

  python -m benchmarks.long_video --checkpoint runs/drawn64 \
    --folder runs/long_video [--hours 1]

Writes a video of a drawn face, covered for a second out of every 30, and a
second one with the covers as masks; then restores it like any file, but that
the face is known. Resident memory is read every minute of video.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.drawn_faces import DrawnFaces
from data_prep.detections import Detector
from data_prep.procedural import SIZE, ProceduralVideo
from data_prep.recipe import Recipe
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.media.sources import open_source
from diffmvr_jax.media.video import TimedFrame, VideoInfo
from diffmvr_jax.media.video_writer import VideoWriter

FPS = 25
PERIOD = 30 * FPS


def main() -> None:
  """Prints a line per ten minutes of video, and the sum."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--checkpoint", type=Path, required=True)
  parser.add_argument("--folder", type=Path, required=True)
  parser.add_argument("--hours", type=float, default=1.0)
  arguments = parser.parse_args()
  count = round(arguments.hours * 3600 * FPS)
  film, masks = (arguments.folder / f"{name}.mp4" for name in ("film", "masks"))
  if not masks.exists():
    write(film, masks, count)
  crops = CropRestorer.from_checkpoint(arguments.checkpoint)
  recipe = DrawnRecipe(
    size=crops.config.data.image_size, occluder=f"masks:{masks}"
  )
  source = open_source(film)
  memory: list[float] = []
  started = time.perf_counter()

  def watched() -> Iterator[TimedFrame]:
    for number, frame in enumerate(source_frames):
      if number % (60 * FPS) == 0:
        memory.append(resident_mib())
        if number % (600 * FPS) == 0:
          print(
            f"{number / FPS / 60:.0f} min: {memory[-1]:.0f} MiB, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
          )
      yield frame

  source_frames, source.frames = source.frames, watched()
  outcome = Restorer(crops, recipe).video(
    source, arguments.folder / "restored.mp4"
  )
  seconds = time.perf_counter() - started
  third = len(memory) // 3
  print(
    f"{outcome.frames} frames, {outcome.restored} restored, {seconds:.0f} s; "
    f"resident memory, mean of the first third after a minute "
    f"{np.mean(memory[1 : third + 1]):.0f} MiB, of the last "
    f"{np.mean(memory[-third:]):.0f} MiB, highest {max(memory):.0f} MiB"
  )


def write(film: Path, masks: Path, count: int) -> None:
  """Encodes the face, covered now and then, and the covers."""
  info = VideoInfo(
    width=SIZE,
    height=SIZE,
    fps=Fraction(FPS),
    time_base=Fraction(1, FPS),
    has_audio=False,
  )
  drawn = [image for image, _ in ProceduralVideo(0).frames()]
  cover = np.zeros((SIZE, SIZE, 3), np.uint8)
  cover[70:110, 60:95] = 255
  with VideoWriter(film, info) as one, VideoWriter(masks, info) as other:
    for i in range(count):
      covered = i % PERIOD >= PERIOD - FPS
      mask = cover if covered else np.zeros_like(cover)
      image = np.where(mask > 0, np.uint8(90), drawn[i % len(drawn)])
      one.write(TimedFrame(image, i))
      other.write(TimedFrame(mask, i))


@dataclass(frozen=True, kw_only=True)
class DrawnRecipe(Recipe):
  """A recipe that knows the face."""

  def face_detector(self) -> Detector:
    """Opens the detector of drawn faces."""
    return DrawnFaces(SIZE)


def resident_mib() -> float:
  """Memory of this process that is in use now; Linux only."""
  for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmRSS"):
      return int(line.split()[1]) / 1024
  raise AssertionError("no VmRSS in /proc/self/status")


if __name__ == "__main__":
  main()
