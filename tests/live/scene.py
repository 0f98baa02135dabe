"""A drawn face that a blue bar covers from time to time, and its detectors."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from data_prep.detections import NOTHING, Detections, bounding_box
from data_prep.detectors.landmarkers import faces_of
from data_prep.procedural import ProceduralVideo
from data_prep.recipe import Recipe
from diffmvr_jax.inference.propagation import PropagationFiller
from diffmvr_jax.inference.restorer import Restorer

WIDTH, HEIGHT = 320, 240
FPS = 25
BLUE = (20, 40, 230)
_LEFT = (WIDTH - HEIGHT) // 2


def _face() -> tuple[np.ndarray, np.ndarray]:
  image, landmarks = next(ProceduralVideo(seed=3).frames())
  scale = HEIGHT / len(image)
  large = cv2.resize(image, (HEIGHT, HEIGHT), interpolation=cv2.INTER_CUBIC)
  frame = np.full((HEIGHT, WIDTH, 3), 180, np.uint8)
  frame[:, _LEFT : _LEFT + HEIGHT] = large
  return frame, (landmarks * scale + (_LEFT, 0)).astype(np.float32)


FREE, LANDMARKS = _face()
COVERED = FREE.copy()
# Over the mouth.
_Y, _X = (int(v) for v in LANDMARKS.mean(0)[::-1])
BAR = np.s_[_Y : _Y + 40, _X - 50 : _X + 50]
COVERED[BAR] = BLUE


def frames(seconds: float) -> list[np.ndarray]:
  """Half a second free, then covered for a second and a half, and so on."""
  count = round(seconds * FPS)
  return [FREE if i % (2 * FPS) < FPS // 2 else COVERED for i in range(count)]


def blue(image: np.ndarray) -> np.ndarray:
  """Where a picture shows the bar."""
  red, green, blue = (image[..., i].astype(int) for i in range(3))
  return (blue > 190) & (red < 100) & (green < 110)


class KnownFace:
  """Finds the face where it was drawn."""

  overlooks = False

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    if float(image.std()) < 5:
      return NOTHING
    return faces_of(LANDMARKS[None])

  def close(self) -> None:
    pass


class BlueThings:
  """Takes what is blue for an occluder."""

  overlooks = False

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    mask = blue(image).astype(np.uint8)
    if mask.sum() < 100:
      return NOTHING
    mask = cv2.dilate(mask, np.ones((7, 7), np.uint8))
    return Detections(
      boxes=bounding_box(mask)[None],
      scores=np.ones(1, np.float32),
      masks=mask[None],
    )

  def close(self) -> None:
    pass


class _SceneRecipe(Recipe):
  def check_detectors(self, sources) -> None:
    pass

  def face_detector(self):
    return KnownFace()

  def occluder_detector(self, video, pace):
    return BlueThings()


def restorer() -> Restorer:
  """Knows the scene, and restores by propagation: nothing is compiled."""
  recipe = _SceneRecipe(size=96, lookahead=0)
  return Restorer(PropagationFiller(crop_size=96), recipe)


def write_y4m(path: Path, images: list[np.ndarray]) -> None:
  """Writes what Chromium takes for a camera."""
  with path.open("wb") as file:
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420jpeg\n"
    file.write(head.encode())
    for image in images:
      planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
      file.write(b"FRAME\n" + planes.tobytes())


def write_video(path: Path, images: list[np.ndarray]) -> None:
  """Writes an MP4 file with a tone."""
  with av.open(path, "w") as output:
    picture = output.add_stream("libx264", rate=FPS)
    picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    sound = output.add_stream("aac", rate=16000)
    sound.layout = "mono"
    for image in images:
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      output.mux(picture.encode(frame))
    output.mux(picture.encode(None))
    length = 16000 * len(images) // FPS
    for start in range(0, length, 1024):
      tone = np.sin(np.arange(start, start + 1024) / 6).astype(np.float32) / 4
      heard = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
      heard.sample_rate, heard.pts = 16000, start
      heard.time_base = Fraction(1, 16000)
      output.mux(sound.encode(heard))
    output.mux(sound.encode(None))
