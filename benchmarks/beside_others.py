r"""The shipped model beside other programs, on one clip and the same cores.

  python -m benchmarks.beside_others [--size 256] [--frames 24] [--rounds 3] \
    [--e2fgvi DIR] [--propainter DIR] [--lama DIR] [--python PYTHON] \
    [--steps 1,2,10] [--windows 1,8]

The clip is a photograph set in motion, cropped around the face. A drawn hand
covers it from some frame on, and every program restores the same frames from
there. Each program is a process of its own, they take turns, and the first
round does not count. Loading, start-up, reading and writing files are left out.

Ours are the stages from crops and masks to composited crops: propagation with
its optical flow, the networks, and pasting. What the frames before the hand
took to be remembered is not counted. A window of one frame is restored as live,
from two looks back, larger ones as files, from six. "stages overlap" propagates
the next frame in another thread meanwhile, as the live server does and
`diffmvr_jax.restore` does not. "nothing seen before" leaves the free frames
out, so that the painter runs. Crops that are larger than the network's are
restored as the package does it: the network sees them shrunk, and finer detail
comes from what was seen.

Diffusers' inpainting pipeline has the autoencoder and the U-Net of `--config`,
with random weights and no prompt. E2FGVI-HQ, ProPainter and LaMa run their own
programs in the folders that are given, with their default settings and random
weights: `benchmarks/other_program.py` tells how. They see the covered frames
alone. PYTHON is the interpreter of their environment.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.own_program import OVERLAP, UNSEEN, clip, threads
from benchmarks.realtime import numbers
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.media.pictures import write_pictures

_OTHERS = {"e2fgvi": "E²FGVI-HQ", "propainter": "ProPainter", "lama": "LaMa"}


def main(argv: list[str]) -> None:
  """Prints the table in Markdown."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", type=int, default=128)
  parser.add_argument("--frames", type=int, default=24)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--steps", type=numbers, default=(1, 2, 10))
  parser.add_argument("--windows", type=numbers, default=(1, 8))
  parser.add_argument("--checkpoint", default="pretrained:faces128")
  parser.add_argument("--config", default="configs/faces128.py")
  for name, title in _OTHERS.items():
    parser.add_argument(f"--{name}", type=Path, help=f"checkout of {title}")
  parser.add_argument("--python", default=sys.executable)
  parser.add_argument("--no-diffusers", action="store_true")
  args = parser.parse_args(argv)
  free, covered = clip(args.size, args.frames)
  share = np.mean([record.mask for record in covered])
  print(
    f"{args.size} px, {args.frames} covered frames after {len(free)} free ones "
    f"({share:.0%} covered), {threads()} threads, load average "
    f"{os.getloadavg()[0]:.1f} before; "
    + ", ".join(f"{n} {version(n)}" for n in ("jax", "torch", "diffusers"))
  )
  with ExitStack() as stack:
    cases = started(args, covered, stack)
    taken: dict[tuple[str, str], list[float]] = {}
    for number in range(args.rounds + 1):
      for program, name, request in cases:
        seconds = program(request) / args.frames
        taken.setdefault((program.title, name), []).append(seconds)
        told = f"round {number}: {program.title}, {name}: {1e3 * seconds:.1f}"
        print(told, file=sys.stderr, flush=True)
  report({case: times[1:] for case, times in taken.items()})


class Program:
  """A process that runs a program when it is asked to.

  Args:
    title: the program's name.
    command: starts it; answers a line of JSON with another one.
    log: gets what it says besides.
    shape: of the frames that it makes, (frame, h, w, 3).
  """

  def __init__(
    self, title: str, command: list[Any], log: Path, shape: tuple[int, ...]
  ):
    self.title, self._log, self._shape = title, log, shape
    with log.open("w") as file:
      self._process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=file,
        text=True,
      )

  def __call__(self, request: dict[str, Any]) -> float:
    """Runs it once, and returns the seconds that it took.

    Raises:
      InputError: it has ended, or what it made cannot be right.
    """
    questions, answers = self._process.stdin, self._process.stdout
    assert questions and answers
    try:
      print(json.dumps(request), file=questions, flush=True)
      answer = json.loads(answers.readline())
    except (BrokenPipeError, ValueError) as error:
      self._process.wait()
      print(self._log.read_text(), file=sys.stderr)
      raise InputError(f"{self.title} ended; see above why") from error
    if tuple(answer["shape"]) != self._shape:
      raise InputError(f"{self.title} made {answer['shape']}")
    if answer["painted"] < 0.5:
      raise InputError(f"{self.title} painted {answer['painted']:.0%}")
    return answer["seconds"]

  def close(self) -> None:
    """Ends the process."""
    self._process.terminate()
    self._process.communicate()


def started(
  args: argparse.Namespace, covered: list[Any], stack: ExitStack
) -> list[tuple[Program, str, dict[str, Any]]]:
  """Starts all programs; returns them with their settings and requests."""
  folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
  images = [record.image for record in covered]
  write_pictures(folder / "frames" / "clip", images)
  masks = [255 * record.mask[..., None] for record in covered]
  write_pictures(folder / "masks" / "clip", masks)

  def start(title: str, *command: Any) -> Program:
    shape = len(images), *images[0].shape
    program = Program(title, list(command), folder / f"{title}.log", shape)
    stack.callback(program.close)
    return program

  def start_own(name: str) -> Program:
    settings = []
    for option in ("size", "frames", "checkpoint", "config"):
      settings += [f"--{option}", getattr(args, option)]
    module = sys.executable, "-m", "benchmarks.own_program"
    return start(name, *module, name, *settings)

  cases = []
  model = start_own("ours")
  for window in args.windows:
    cases.append((model, f"window {window}", {"window": window}))
    for how in (OVERLAP, UNSEEN):
      request = {"window": window, how: True}
      cases.append((model, f"window {window}, {how}", request))
  if not args.no_diffusers:
    pipeline = start_own("diffusers")
    for steps in args.steps:
      for window in args.windows:
        name = f"{steps} step{'s' if steps > 1 else ''}, window {window}"
        cases.append((pipeline, name, {"window": window, "steps": steps}))
  script = Path(__file__).with_name("other_program.py")
  for name, title in _OTHERS.items():
    if checkout := getattr(args, name):
      command = script, name, checkout.resolve(), folder, threads()
      cases.append((start(title, args.python, *command), "", {}))
  return cases


def report(taken: dict[tuple[str, str], list[float]]) -> None:
  """Prints medians, and how they compare with ours."""
  medians = {case: statistics.median(times) for case, times in taken.items()}
  own = [
    (name, seconds)
    for (program, name), seconds in medians.items()
    if program == "ours" and "," not in name
  ]
  print(
    "\n| program | setting | ms/frame | lowest to highest |"
    + "".join(f" ours, {name}, of it |" for name, _ in own)
    + f"\n|---|---|---:|---:|{'---:|' * len(own)}"
  )
  for (program, name), times in taken.items():
    middle = medians[program, name]
    ratios = ["" if program == "ours" else f"{x / middle:.2f}" for _, x in own]
    print(
      f"| {program} | {name} | {1e3 * middle:.1f} "
      f"| {1e3 * min(times):.1f} to {1e3 * max(times):.1f} "
      f"| {' | '.join(ratios)} |"
    )


if __name__ == "__main__":
  run_command(main)
