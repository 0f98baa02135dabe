"""Small files that the cases are made of."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data_prep.__main__ import main as data_prep
from diffmvr_jax import restore
from tests.data_prep.clips import CentredRecipe, write_video

SIDE, FRAMES = 48, 5
LOSSLESS = {"codec": "ffv1", "pixels": "bgr0"}


def images(count=FRAMES, side=SIDE):
  """Frames of noise that moves."""
  noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
  return [np.roll(noise, i, axis=1) for i in range(count)]


def clip(path: Path, count=FRAMES, **options) -> Path:
  return write_video(path, images(count), **(LOSSLESS | options))


def mask(path: Path, side=SIDE) -> Path:
  values = np.zeros((side, side), np.uint8)
  values[16:32, 16:32] = 255
  path.write_bytes(cv2.imencode(".png", values)[1].tobytes())
  return path


def with_sound(path: Path) -> Path:
  """A clip with an audio stream."""
  with av.open(str(path), "w") as output:
    video = output.add_stream("ffv1", rate=25)
    video.width = video.height = SIDE
    video.pix_fmt = "bgr0"
    audio = output.add_stream("pcm_s16le", rate=16000)
    output.metadata["title"] = "A-TITLE-IN-ASCII"
    for image in images():
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      output.mux(video.encode(frame))
    output.mux(video.encode(None))
    sound = av.AudioFrame.from_ndarray(
      np.zeros((1, 3200), np.int16), format="s16", layout="mono"
    )
    sound.sample_rate, sound.pts = 16000, 0
    sound.time_base = Fraction(1, 16000)
    output.mux(audio.encode(sound))
    output.mux(audio.encode(None))
  return path


def patched(path: Path, old: bytes, new: bytes) -> Path:
  """Replaces bytes by as many others."""
  data = path.read_bytes()
  assert old in data and len(old) == len(new)
  path.write_bytes(data.replace(old, new))
  return path


def cleared(video: str, *options: str, out="{folder}/out.mkv") -> list[str]:
  """Arguments of a restoration that needs no model."""
  return [
    *(video, "--method", "propagation", "--region", "frame"),
    *("--occluder", "masks:{folder}/mask.png", "--out", out, *options),
  ]


def restored(argv: list[str]) -> None:
  restore.main(argv)


def prepared(argv: list[str]) -> None:
  """`data_prep` with a face in the middle of every frame, without a model."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      "data_prep.recipe_options.Recipe",
      lambda **settings: CentredRecipe(**settings | {"face": "centred"}),
    )
    data_prep(argv)


def fifo(path: Path) -> Path:
  os.mkfifo(path)
  return path


def making(*steps: Callable[[Path], object]) -> Callable[[Path], None]:
  """Does several steps in the case's folder."""

  def make(folder: Path) -> None:
    for step in steps:
      step(folder)

  return make


def file(name: str, data: bytes | str = b"") -> Callable[[Path], object]:
  """A step that writes a file."""
  content = data.encode() if isinstance(data, str) else data

  def make(folder: Path) -> None:
    path = folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

  return make


def plain(folder: Path) -> None:
  """A clip and its mask."""
  clip(folder / "clip.mkv")
  mask(folder / "mask.png")
