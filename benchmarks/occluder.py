r"""How well masks fit what covers a face, and how long they take.

  python -m benchmarks.occluder --checkpoint pretrained:faces128 \
    hands=RECORDS objects=RECORDS

RECORDS is a folder that `data_prep export` wrote with pasted occlusion, so that
the true masks are known. The network sees the crops in order, and the last one
in which it found nothing, as in a restoration. MediaPipe's hand model
(`--beside`) sees the same crops, four times as large; its mask is the hull of
its hands. A covered frame is one whose mask takes more than 0.5 % of the crop.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from data_prep.detections import covered
from data_prep.detectors.landmarkers import HandDetector
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.inference.occluder import OccluderNetwork
from diffmvr_jax.pretrained import DEFAULT, PREFIX

_LEAST = 0.005  # share of the crop; less of a mask is none
_LARGER = 4  # for MediaPipe, which looks at whole pictures elsewhere

# Takes a crop and the last one that was free; gives a mask.
Find = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclass
class Fit:
  """How well one clip's masks fit.

  Attributes:
    overlaps: intersection over union of each covered frame.
    missed: number of covered frames in which nothing is found.
    false: number of free frames in which something is found.
    free: number of free frames.
    seconds: of each frame.
  """

  overlaps: list[float] = field(default_factory=list)
  missed: int = 0
  false: int = 0
  free: int = 0
  seconds: list[float] = field(default_factory=list)

  def add(self, found: np.ndarray, mask: np.ndarray) -> None:
    """Counts a frame; both masks are (s, s), not 0 on the occluder."""
    found, mask = found > 0, mask > 0
    if mask.mean() > _LEAST:
      union = np.count_nonzero(found | mask)
      self.overlaps.append(np.count_nonzero(found & mask) / union)
      self.missed += found.mean() <= _LEAST
    elif not mask.any():
      self.free += 1
      self.false += found.mean() > _LEAST


def main(argv: list[str]) -> None:
  """Scores what is asked for, and prints a table."""
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.occluder", description=__doc__
  )
  parser.add_argument("--checkpoint", default=f"{PREFIX}{DEFAULT}")
  parser.add_argument("--beside", action="store_true", help="MediaPipe too")
  parser.add_argument("--models", help="folder of MediaPipe's .task files")
  parser.add_argument("records", nargs="+", metavar="KIND=RECORDS")
  args = parser.parse_args(argv)
  network = OccluderNetwork.from_checkpoint(args.checkpoint)
  network.compile()
  print("| kind | clip | IoU | missed | false masks | ms |")
  print("|---|---|---|---|---|---|")
  for named in args.records:
    kind, _, folder = named.partition("=")
    if not folder:
      raise InputError(f"{named}: expected KIND=RECORDS")
    _report(kind, _scored(folder, lambda: network.start()))
    if args.beside:
      with closing(HandDetector(args.models)) as detector:
        _report(f"{kind}, MediaPipe", _scored(folder, lambda: _hulls(detector)))


def _scored(folder: str, start: Callable[[], Find]) -> dict[str, Fit]:
  fits: dict[str, Fit] = {}
  for video, frames in _videos(folder):
    find, fit, free = start(), Fit(), None
    for crop, mask in frames:
      begin = time.perf_counter()
      found = find(crop, free)
      fit.seconds.append(time.perf_counter() - begin)
      fit.add(found, mask)
      if found.mean() <= _LEAST:
        free = crop
    fits[video] = fit
  return fits


def _videos(
  folder: str,
) -> Iterator[tuple[str, Iterator[tuple[np.ndarray, np.ndarray]]]]:
  for split in ("train", "validation", "test"):
    if not list(Path(folder).glob(f"*-{split}*")):
      continue
    records = RecordSource(folder, split)
    for video, positions in records.videos():
      frames = (records[int(i)] for i in positions)
      yield video, ((record.image, record.mask) for record in frames)


def _hulls(detector: HandDetector) -> Find:
  numbers = iter(range(10**9))

  def find(crop: np.ndarray, free: np.ndarray | None) -> np.ndarray:
    del free
    large = cv2.resize(crop, None, fx=_LARGER, fy=_LARGER)
    mask = covered(detector(large, next(numbers)), large.shape[:2])
    return cv2.resize(mask, crop.shape[1::-1], interpolation=cv2.INTER_NEAREST)

  return find


def _report(kind: str, fits: dict[str, Fit]) -> None:
  for video, fit in sorted(fits.items()):
    _print_row(kind, Path(video).stem, fit)
  total = Fit()
  for fit in fits.values():
    total.overlaps += fit.overlaps
    total.seconds += fit.seconds
    total.missed += fit.missed
    total.false += fit.false
    total.free += fit.free
  _print_row(kind, "all", total)


def _print_row(kind: str, video: str, fit: Fit) -> None:
  overlap = f"{np.mean(fit.overlaps):.3f}" if fit.overlaps else "–"
  missed = f"{fit.missed} of {len(fit.overlaps)}"
  false = f"{fit.false} of {fit.free}"
  milliseconds = 1e3 * float(np.median(fit.seconds))
  print(
    f"| {kind} | {video} | {overlap} | {missed} | {false} "
    f"| {milliseconds:.1f} |",
    flush=True,
  )


if __name__ == "__main__":
  run_command(main)
