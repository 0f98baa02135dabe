"""How well faces are found in cluttered frames of 1920×1080, and how fast.

  python -m benchmarks.face_search PORTRAITS --models DIR [--hands DIR]
    [--frames 50]

PORTRAITS is a folder of pictures of one upright face each. A frame is a smooth
background with scraps of portraits that show no face, hands, ellipses of
skin's colours, and lines. One portrait is pasted over it, cut out softly around
head and shoulders, at a random place, leaning by up to 15 degrees, and turned
by 0, 90 or 180 degrees. The size of a face is the larger side of the box
around its oval.

A face counts as found if the box that is found overlaps with its own by half
(intersection over union), and its roll is within 30 degrees of the true one.
Each frame is searched at all four turns, until something is found; in a video,
one search is one turn. Timings are CPU time on one core, of upright faces that
the first turn finds, and of the whole search, a quarter of it, where there is
no face.
"""

import argparse
import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_prep.detections import Detections, overlap
from data_prep.detectors.landmarkers import FaceDetector, faces_of
from data_prep.detectors.thorough import ThoroughFaceDetector
from data_prep.faces.crop import apply
from data_prep.faces.landmarks import roll

WIDTH, HEIGHT = 1920, 1080
SIZES = (40, 60, 100, 200)
TURNS = (0, 90, 180)
PORTRAITS = 100


@dataclass(frozen=True)
class Portrait:
  """A picture of one face, (h, w, 3) uint8, with its (21, 2) landmarks."""

  image: np.ndarray
  landmarks: np.ndarray


def main(argv: list[str]) -> None:
  """Prints two tables in Markdown."""
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.face_search", description=__doc__
  )
  parser.add_argument("portraits", type=Path)
  parser.add_argument("--models", required=True)
  parser.add_argument("--hands", type=Path, help="cut-out hands, as PNG")
  parser.add_argument("--frames", type=int, default=50, help="of each kind")
  arguments = parser.parse_args(argv)
  cv2.setNumThreads(1)
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  models, count = arguments.models, arguments.frames
  portraits = _portraits(arguments.portraits, models)
  hands = sorted(arguments.hands.glob("*.png")) if arguments.hands else []
  scenes = Scenes(portraits, hands)

  head = "".join(f" {turn}° |" for turn in TURNS)
  print(f"| face | whole frame only, 0° |{head} ms, median | ms, 95 % |")
  print("|---:|" + "---:|" * (len(TURNS) + 3))
  with (
    closing(FaceDetector(models)) as whole,
    closing(ThoroughFaceDetector(models, still=True)) as thorough,
  ):
    for size in SIZES:
      plain: list[bool] = []
      found: dict[int, list[bool]] = {turn: [] for turn in TURNS}
      timings: list[float] = []
      for number in range(count):
        for turn, (frame, face) in scenes.with_face(number, size).items():
          seen, milliseconds = _timed(thorough, frame)
          found[turn].append(_is_found(seen, face))
          if turn == 0:
            plain.append(_is_found(whole(frame), face))
            timings += [milliseconds] * found[turn][-1]
      shares = "".join(f" {np.mean(hits):.0%} |" for hits in found.values())
      print(
        f"| {size} px | {np.mean(plain):.0%} |{shares}{_spread(timings)}",
        flush=True,
      )
    timings, false = [], 0
    for number in range(count):
      seen, milliseconds = _timed(thorough, scenes.without_face(number))
      false += len(seen) > 0
      timings.append(milliseconds / 4)
  print(f"| none | |{' |' * len(TURNS)}{_spread(timings)}")
  print(f"\nFalse finds: in {false} of {count} frames without a face")


class Scenes:
  """Draws frames; the same ones whenever it is asked.

  Args:
    portraits: whose faces and scraps are pasted.
    hands: pictures of cut-out hands.
  """

  def __init__(self, portraits: list[Portrait], hands: list[Path]):
    self._portraits, self._hands = portraits, hands

  def without_face(self, number: int) -> np.ndarray:
    """Returns a frame, (1080, 1920, 3) uint8."""
    return self._background(np.random.default_rng([0, number]))

  def with_face(
    self, number: int, size: int
  ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Returns frames, each with the (21, 2) landmarks of its face, by `TURNS`.

    Args:
      number: of the scene.
      size: of the face, in pixels.
    """
    rng = np.random.default_rng([1, size, number])
    frame = self._background(rng)
    portrait = self._portraits[rng.integers(len(self._portraits))]
    lean = float(rng.uniform(-15, 15))
    place = rng.uniform(0.75 * size, np.array([WIDTH, HEIGHT]) - 0.75 * size)
    return {
      turn: _paste_face(frame, portrait, size, turn + lean, place)
      for turn in TURNS
    }

  def _background(self, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(size=(rng.integers(4, 12), rng.integers(6, 20), 3))
    smooth = cv2.resize(
      noise.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    smooth = smooth * rng.uniform(20, 50) + rng.uniform(60, 180, 3)
    frame = np.clip(smooth, 0, 255).astype(np.uint8)
    for kind in rng.random(rng.integers(80, 160)):
      if kind < 0.6:
        scrap = _scrap(self._portraits[rng.integers(len(self._portraits))], rng)
        opaque = np.full(scrap.shape[:2], 255, np.uint8)
        _paste(frame, scrap, opaque, rng.uniform(0.5, 2), rng)
      elif kind < 0.75 and self._hands:
        path = self._hands[rng.integers(len(self._hands))]
        hand = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        rgb = np.ascontiguousarray(hand[..., 2::-1])
        _paste(frame, rgb, hand[..., 3], rng.uniform(0.4, 2), rng)
      elif kind < 0.9:
        skin = np.array([200, 150, 125]) * rng.uniform(0.3, 1.2)
        colour = skin if rng.random() < 0.6 else rng.uniform(0, 255, 3)
        axes = rng.integers(8, 90, 2).tolist()
        angle = rng.uniform(0, 360)
        cv2.ellipse(
          frame, _place(rng), axes, angle, 0, 360, _colour(colour), -1
        )
      else:
        colour, width = rng.uniform(0, 255, 3), int(rng.integers(1, 14))
        cv2.line(frame, _place(rng), _place(rng), _colour(colour), width)
    grain = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32)
    noisy = frame + np.float32(rng.uniform(1, 6)) * grain
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _portraits(folder: Path, models: str) -> list[Portrait]:
  """Reads some of the portraits; those without a face are left out."""
  paths = [p for p in sorted(folder.iterdir()) if p.suffix in (".jpg", ".png")]
  chosen = np.random.default_rng(0).permutation(len(paths))[:PORTRAITS]
  portraits = []
  with closing(FaceDetector(models)) as find_face:
    for path in (paths[i] for i in chosen):
      image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
      found = find_face(image)
      if found.landmarks is not None and len(found) == 1:
        portraits.append(Portrait(image, found.landmarks[0]))
  return portraits


def _scrap(portrait: Portrait, rng: np.random.Generator) -> np.ndarray:
  """Cuts out a rectangle beside the head."""
  height, width = portrait.image.shape[:2]
  low, high = portrait.landmarks.min(0), portrait.landmarks.max(0)
  margin = 0.35 * (high - low)
  (left, top), (right, bottom) = low - margin, high + margin
  while True:
    w, h = (int(rng.integers(40, 260)) for _ in range(2))
    x, y = int(rng.integers(width - w)), int(rng.integers(height - h))
    if x + w < left or x > right or y + h < top or y > bottom:
      return portrait.image[y : y + h, x : x + w]


def _paste(
  frame: np.ndarray,
  picture: np.ndarray,
  alpha: np.ndarray,
  scale: float,
  rng: np.random.Generator,
) -> None:
  """Pastes a picture at any place and angle."""
  height, width = alpha.shape
  side = int(scale * np.hypot(width, height)) + 2
  middle = (width / 2, height / 2)
  where = cv2.getRotationMatrix2D(middle, rng.uniform(0, 360), scale)
  where[:, 2] += side / 2 - np.array(middle)
  pasted = cv2.warpAffine(picture, where, (side, side))
  seen = cv2.warpAffine(alpha, where, (side, side)) > 127
  x, y = np.subtract(_place(rng), side // 2).tolist()
  part = np.s_[max(-y, 0) : HEIGHT - y, max(-x, 0) : WIDTH - x]
  under = frame[max(y, 0) : y + side, max(x, 0) : x + side]
  under[seen[part]] = pasted[part][seen[part]]


def _paste_face(
  frame: np.ndarray,
  portrait: Portrait,
  size: int,
  degrees: float,
  place: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  box = faces_of(portrait.landmarks[None]).boxes[0]
  middle, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
  scale = size / float(sides.max())
  angle = np.deg2rad(degrees)
  cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
  linear = np.array([[cosine, -sine], [sine, cosine]])
  where = np.column_stack([linear, place - linear @ middle])
  picture = cv2.GaussianBlur(portrait.image, (0, 0), max(0.4 / scale, 0.3))
  alpha = np.zeros(picture.shape[:2], np.float32)
  for down, axes in ((-0.1, (0.8, 0.85)), (1.4, (1.3, 0.9))):  # head, shoulders
    centre = middle + np.array([0, down * sides[1]])
    cv2.ellipse(alpha, _point(centre), _point(sides * axes), 0, 0, 360, 1.0, -1)
  alpha = cv2.GaussianBlur(alpha, (0, 0), 0.04 * float(sides[1]))
  alpha = cv2.warpAffine(alpha, where, (WIDTH, HEIGHT))[..., None]
  pasted = cv2.warpAffine(picture, where, (WIDTH, HEIGHT))
  mixed = frame + alpha * (pasted - frame.astype(np.float32))
  return mixed.astype(np.uint8), apply(where, portrait.landmarks)


def _timed(
  detector: FaceDetector | ThoroughFaceDetector, frame: np.ndarray
) -> tuple[Detections, float]:
  start = time.process_time()
  found = detector(frame, 0)
  return found, 1e3 * (time.process_time() - start)


def _spread(timings: list[float]) -> str:
  median, high = np.percentile(timings, [50, 95])
  return f" {median:.0f} | {high:.0f} |"


def _is_found(found: Detections, landmarks: np.ndarray) -> bool:
  if found.landmarks is None:
    return False
  true = faces_of(landmarks[None]).boxes[0]
  for box, points in zip(found.boxes, found.landmarks, strict=True):
    away = (roll(points) - roll(landmarks) + np.pi) % (2 * np.pi) - np.pi
    if overlap(box, true) >= 0.5 and abs(away) < np.pi / 6:
      return True
  return False


def _place(rng: np.random.Generator) -> tuple[int, int]:
  return int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))


def _point(values: np.ndarray) -> tuple[int, int]:
  return round(float(values[0])), round(float(values[1]))


def _colour(values: np.ndarray) -> tuple[float, float, float]:
  red, green, blue = np.clip(values, 0, 255).tolist()
  return red, green, blue


if __name__ == "__main__":
  main(sys.argv[1:])
