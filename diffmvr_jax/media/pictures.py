"""Reads and writes picture files, by whatever name, through OpenCV."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import make_folder, refuse_special, replacing, writing


def read_picture(
  path: str | Path, mode: int = cv2.IMREAD_COLOR_RGB
) -> np.ndarray:
  """Reads a picture.

  Args:
    path: the file.
    mode: OpenCV's, which says what the channels are.

  Returns:
    (h, w) or (h, w, c).

  Raises:
    InputError: there is no such file, it is none that holds a picture, or it
      cannot be read.
  """
  # OpenCV itself takes no name that is not UTF-8.
  return decode_picture(read_bytes(path), path, mode)


def read_bytes(path: str | Path) -> bytes:
  """Reads a whole file.

  Raises:
    InputError: there is no such file, or it cannot be read.
  """
  refuse_special(Path(path))
  try:
    return Path(path).read_bytes()
  except OSError as error:
    raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def write_pictures(folder: Path, images: Iterable[np.ndarray]) -> None:
  """Writes a folder of PNG files, `00000.png` and so on, whole or not at all.

  Args:
    folder: the folder; it must not exist, or be empty.
    images: (h, w, 3) RGB or (h, w, 1), uint8.

  Raises:
    OSError: the disk does not take it; names the folder.
  """
  make_folder(folder.parent)
  with writing(folder), replacing(folder) as partial:
    partial.mkdir()
    for number, image in enumerate(images):
      _, data = cv2.imencode(".png", image[..., ::-1])
      (partial / f"{number:05}.png").write_bytes(data.tobytes())


def decode_picture(
  data: bytes, path: str | Path, mode: int = cv2.IMREAD_COLOR_RGB
) -> np.ndarray:
  """Decodes the content of a picture file, see `read_picture`.

  Args:
    data: the content.
    path: the file, for the message.
    mode: OpenCV's.

  Raises:
    InputError: it holds no picture.
  """
  try:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
  except cv2.error:  # a header that asks for more than OpenCV takes
    image = None
  if image is None:
    raise InputError(f"{path}: not a picture that OpenCV reads")
  return image
