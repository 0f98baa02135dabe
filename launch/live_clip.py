"""A clip for trying the live server: a photograph set in motion, and covered.

The photograph is scikit-image's; nobody has to be filmed for it.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data_prep.drawn_clips import PortraitSource, portrait_clip
from diffmvr_jax.files import make_folder
from launch.demo import PERSON, write_photograph

WIDTH, HEIGHT, FPS = 640, 480, 25
FREE = 25  # frames before the first covered one
SKIN = (196, 150, 122)  # of what covers the face


def pictures(folder: Path, *, seed: int = 0) -> list[np.ndarray]:
  """Returns the frames of two seconds, nothing covered, each (480, 640, 3).

  Args:
    folder: where the photograph is written.
    seed: of the motion.

  Raises:
    InputError: scikit-image is not installed.
  """
  make_folder(folder)
  path = folder / f"{PERSON}.png"
  write_photograph(path)
  clip, _ = portrait_clip(PortraitSource(path), seed)
  return [_in_frame(frame.image) for frame in clip.frames()]


def covered(
  drawn: list[np.ndarray],
  count: int,
  free: int = FREE,
  hand: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields frames to and fro, and what covers them from frame `free` on.

  Args:
    drawn: what `pictures` returns.
    count: number of frames.
    free: frames that nothing covers, at first.
    hand: (h, w, 4) uint8, the cut-out of a hand that covers them; None means
      a patch.

  Yields:
    (480, 640, 3) uint8, and (480, 640) uint8, 1 on the occluder.
  """
  there_and_back = [*drawn, *drawn[-2:0:-1]]
  for i in range(count):
    image = there_and_back[i % len(there_and_back)].copy()
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    if i >= free:
      sway = round(14 * np.sin(i / 9))
      middle = (WIDTH // 2 + sway, HEIGHT * 3 // 5)
      if hand is None:
        cv2.ellipse(mask, middle, (80, 52), 12, 0, 360, 1, -1)
        cv2.copyTo(np.full_like(image, SKIN), mask, image)
      else:
        _paste(image, mask, hand, middle)
    yield image, mask


def jpeg(image: np.ndarray) -> bytes:
  """Encodes a frame as a browser's camera does."""
  bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
  return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def _paste(
  image: np.ndarray, mask: np.ndarray, hand: np.ndarray, middle: tuple[int, int]
) -> None:
  """Lays a cut-out over an image, and marks in the mask where it is."""
  height, width = hand.shape[:2]
  left, top = middle[0] - width // 2, middle[1] - height // 2
  part = np.s_[top : top + height, left : left + width]
  share = hand[..., 3:] / np.float32(255)
  image[part] = share * hand[..., :3] + (1 - share) * image[part]
  mask[part] = hand[..., 3] > 0


def _in_frame(image: np.ndarray) -> np.ndarray:
  frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
  left = (WIDTH - HEIGHT) // 2
  frame[:, left : left + HEIGHT] = cv2.resize(
    image, (HEIGHT, HEIGHT), interpolation=cv2.INTER_CUBIC
  )
  return frame
