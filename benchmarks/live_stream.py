r"""The shipped model on a live stream: 640×480, found, restored, composited.

  python -m benchmarks.live_stream [--models DIR] [--seconds 20] \
    [--checkpoint pretrained:faces128] [--occluder mediapipe] \
    [--hand CUTOUT.png] [sampling.detail=1 …]

A photograph is set in motion, and a patch moves over its face in every frame
but the first second's. Faces and occluders are found with the detectors that
the live server uses. MediaPipe's hand model does not take the patch for a
hand: it looks at every frame, and the mask that it should have found is given.
With `--hand` the cut-out of a hand takes the place of the patch, and only what
the detector finds is restored.

"as fast as possible" feeds the next frame as soon as it is asked for. "at 25
frames/s" feeds frames at that pace, where the newest one wins; latency is from
a frame's arrival until its message to viewers is encoded. Where covered frames
come out late, fewer of them are looked at closely; the last column says how
many at the end. CPU time is that of the whole process, on all cores. The load
average says how busy the machine was before: without 0 there, the numbers say
little.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from data_prep.detections import NOTHING, Detections, Detector, bounding_box
from data_prep.recipe import Recipe
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.inference.finding import LIVE
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import RestoredFrame, StreamOptions
from diffmvr_jax.live.message import Numbers, message_of
from diffmvr_jax.live.pipeline import Arrival, Pipeline
from diffmvr_jax.media.ahead import ahead
from diffmvr_jax.media.pace import Pace
from diffmvr_jax.media.video import TimedFrame
from diffmvr_jax.runtime.compiled import keep_programs
from diffmvr_jax.runtime.cores import spare_a_core
from launch.live_clip import FPS, FREE, SKIN, covered, pictures

_HAND = 190  # pixels of a hand's longer side
_NUMBERS = Numbers(fps=0.0, latency=0.0, dropped=0, viewers=1, recording=False)


class Patch:
  """Finds the patch by its colour, after a real detector has looked."""

  overlooks = False

  def __init__(self, detector: Detector):
    self._detector = detector

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Lets the detector look, and returns where the patch is."""
    self._detector(image, index)
    mask = np.asarray(cv2.inRange(image, SKIN, SKIN)) // 255
    if not mask.any():
      return NOTHING
    return Detections(
      boxes=bounding_box(mask)[None],
      scores=np.ones(1, np.float32),
      masks=mask[None],
    )

  def close(self) -> None:
    """Closes the detector."""
    self._detector.close()


def main(argv: list[str]) -> None:
  """Prints the table in Markdown."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--models", help="folder of MediaPipe's .task files")
  parser.add_argument("--seconds", type=float, default=20)
  parser.add_argument("--checkpoint", default="pretrained:faces128")
  parser.add_argument("--occluder")
  parser.add_argument("--hand", type=Path, help="picture with transparency")
  parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
  args = parser.parse_args(argv)
  load = os.getloadavg()[0]
  spare_a_core()
  keep_programs()
  hand = None if args.hand is None else cutout(args.hand)
  if hand is None:
    with_patch(Recipe)
  start = time.perf_counter()
  restorer = Restorer.from_checkpoint(
    args.checkpoint,
    args.overrides,
    **LIVE,
    models=args.models,
    occluder=args.occluder,
  )
  restorer.get_ready()
  ready = time.perf_counter() - start
  count = round(args.seconds * FPS)
  with tempfile.TemporaryDirectory() as folder:
    drawn = pictures(Path(folder))
  frames = [image for image, _ in covered(drawn, FREE + count, hand=hand)]
  bare = [image for image, _ in covered(drawn, count, free=count)]
  print(
    f"{args.checkpoint}, {os.cpu_count()} cores, load average {load:.1f} "
    f"before; ready after {ready:.1f} s\n\n"
    "| frames | fed | frames/s | of these covered | p50, ms | p95, ms "
    "| dropped | CPU, ms/frame | close looks |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---|"
  )
  for name, images in (("covered", frames), ("free", bare)):
    for how, run in (
      ("as fast as possible", partial(as_fast_as_possible, restorer)),
      (f"at {FPS} frames/s", partial(paced, restorer)),
    ):
      print(f"| {name} | {how} | {row(run, images)} |", flush=True)


def cutout(path: Path) -> np.ndarray:
  """Reads a hand, (h, w, 4) uint8, at the size that it has before a face."""
  image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
  if image is None or image.ndim != 3 or image.shape[2] != 4:
    raise InputError(f"{path}: not a picture with transparency")
  scale = _HAND / max(image.shape[:2])
  image = cv2.resize(image, None, fx=scale, fy=scale)
  return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def with_patch(recipe: type[Recipe]) -> None:
  """Makes recipes find the patch, see `Patch`."""
  opened = recipe.occluder_detector

  def occluder_detector(self: Recipe, video: Path, pace: Pace) -> Detector:
    return Patch(opened(self, video, pace))

  recipe.occluder_detector = occluder_detector


def row(run: Callable[[list[np.ndarray]], dict], images: list) -> str:
  """Runs once, and returns the cells of the table."""
  before = time.process_time()
  found = run(images)
  cpu = 1e3 * (time.process_time() - before) / found["shown"]
  latency = found["latency"]
  p50, p95 = np.percentile(latency, [50, 95]) if latency else (0, 0)
  cells = [
    f"{found['shown'] / found['seconds']:.1f}",
    f"{found['covered'] / found['shown']:.0%}",
    f"{1e3 * p50:.0f}" if latency else "",
    f"{1e3 * p95:.0f}" if latency else "",
    str(found["dropped"]),
    f"{cpu:.0f}",
    f"1 of {found['every']}",
  ]
  return " | ".join(cells)


def as_fast_as_possible(restorer: Restorer, images: list[np.ndarray]) -> dict:
  """Every frame goes through, and stages overlap as on the server."""
  frames = (TimedFrame(image, i) for i, image in enumerate(images))
  pace = restorer.pace()
  observed = restorer.observe(frames, Fraction(1, FPS), pace=pace)
  stream = ahead(restorer.fill(ahead(observed), StreamOptions(latency=0)))
  begun, shown, hidden = 0.0, 0, 0
  for number, done in enumerate(stream):
    message_of(done, number, _NUMBERS)
    if number < FREE:  # until everything has been used once
      begun = time.perf_counter()
      continue
    shown, hidden = shown + 1, hidden + (done.alpha is not None)
  seconds = time.perf_counter() - begun
  return {
    "shown": shown,
    "covered": hidden,
    "seconds": seconds,
    "latency": [],
    "dropped": 0,
    "every": pace.every,
  }


def paced(restorer: Restorer, images: list[np.ndarray]) -> dict:
  """Frames come at their own pace."""
  latency: list[float] = []
  states: list[bool] = []
  dropped: list[int] = []

  def show(done: RestoredFrame, came: float) -> None:
    message_of(done, len(states), _NUMBERS)
    latency.append(time.monotonic() - came)
    states.append(done.alpha is not None)

  pipeline = Pipeline(restorer, show, lambda: dropped.append(1))
  start = time.monotonic()
  for number, image in enumerate(images):
    if number == FREE:
      seen, lost = len(states), len(dropped)
    time.sleep(max(start + number / FPS - time.monotonic(), 0))
    pipeline.put(Arrival(image, time.monotonic()))
  time.sleep(0.5)
  pipeline.close()
  return {
    "shown": len(states) - seen,
    "covered": sum(states[seen:]),
    "seconds": (len(images) - FREE) / FPS,
    "latency": latency[seen:],
    "dropped": len(dropped) - lost,
    "every": pipeline.pace.every,
  }


if __name__ == "__main__":
  run_command(main)
