"""MediaPipe's graphs (Tasks API): opened, run and closed without a word."""

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.detectors.mediapipe_files import model_path
from diffmvr_jax.command_line.terminal import without_chatter
from diffmvr_jax.errors import InputError


class Graph:
  """One of MediaPipe's detectors or landmarkers.

  Args:
    create: opens it, given the module `mediapipe.tasks.python.vision`.

  Raises:
    InputError: MediaPipe is not installed.
  """

  def __init__(self, create: Callable[[Any], Any]):
    vision = import_mediapipe().vision
    with without_chatter():
      self._task = create(vision)
    self._has_found = False
    _close_before_exit(self)

  def __call__(self, image: np.ndarray, milliseconds: int | None = None) -> Any:
    """Looks at a picture.

    Args:
      image: (h, w, 3) uint8.
      milliseconds: time of the picture, which grows from call to call; None if
        the graph was opened for unrelated pictures.

    Returns:
      MediaPipe's result.
    """
    if self._has_found:
      return self._run(image, milliseconds)
    # Its later stages greet when they first run: when something is found.
    with without_chatter():
      result = self._run(image, milliseconds)
    self._has_found = any(vars(result).values())
    return result

  def _run(self, image: np.ndarray, milliseconds: int | None) -> Any:
    import mediapipe

    picture = mediapipe.Image(
      image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
    )
    if milliseconds is None:
      return self._task.detect(picture)
    return self._task.detect_for_video(picture, milliseconds)

  def close(self) -> None:
    """Frees what it holds; a second time it does nothing."""
    if self not in _open:
      return
    _open.discard(self)
    with without_chatter():
      self._task.close()


def import_mediapipe() -> Any:
  """Imports `mediapipe.tasks.python`.

  Raises:
    InputError: MediaPipe is not installed.
  """
  try:
    from mediapipe.tasks import python
  except ImportError as error:
    raise InputError(
      f"mediapipe is not installed ({error}); pip install '.[data-prep]'"
    ) from error
  return python


def model_file(name: str, models: str | Path | None) -> Any:
  """Returns MediaPipe's options that name a model file.

  Args:
    name: `face_landmarker` or `hand_landmarker`.
    models: folder of the model files, see `diffmvr_jax.files`.

  Raises:
    InputError: MediaPipe is not installed, or the model cannot be used.
  """
  python = import_mediapipe()
  path = model_path(name, models)
  return python.BaseOptions(model_asset_path=str(path))


_open: "weakref.WeakSet[Graph]" = weakref.WeakSet()
_hooked = False


def _close_before_exit(graph: Graph) -> None:
  """Closes a graph at the end, if an error has kept it from being closed.

  A graph is closed in a thread of its own, and Python starts none once it has
  come to the functions of `atexit`; those of `threading` are called earlier.
  """
  global _hooked
  _open.add(graph)
  if not _hooked:
    # Not public, and the only one that is early enough.
    threading._register_atexit(_close_all)  # pyright: ignore
    _hooked = True


def _close_all() -> None:
  for graph in list(_open):
    with suppress(Exception):  # the others must be closed, too
      graph.close()
