"""What one may want to see beside a restored video, written along with it."""

import dataclasses
import zipfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import cv2
import numpy as np

from diffmvr_jax.inference.stream import RestoredFrame
from diffmvr_jax.media.sinks import Sink, open_sink
from diffmvr_jax.media.video import Colour, TimedFrame, VideoInfo

# Levels of spread that the overlay shows in its strongest colour.
_STRONGEST = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtraPaths:
  """Where to write them, each a sink of `open_sink`; None: nowhere.

  Attributes:
    mask: how much of each pixel was replaced, white where all.
    guidance: of each frame with a face, side by side, its crop with the
      occlusion blacked out, the symmetric image and the past frame.
    side_by_side: source and restoration.
    confidence: the source with the samples' spread in colours over it. Beside
      it, with the suffix `.npz`, an array (h, w) per restored frame, the
      standard deviation in levels of 0 to 255.
  """

  mask: Path | None = None
  guidance: Path | None = None
  side_by_side: Path | None = None
  confidence: Path | None = None


class Extras(AbstractContextManager):
  """Writes extras frame by frame; complete once it is left.

  Args:
    paths: what, and where.
    info: of the source.
    size: side of the crops.
  """

  def __init__(self, paths: ExtraPaths, info: VideoInfo, size: int):
    self._size = size
    self._stack = ExitStack()
    plain = dataclasses.replace(info, colour=Colour())
    shapes = {
      "mask": (info.width, info.height),
      "guidance": (3 * size, size),
      "side_by_side": (2 * info.width, info.height),
      "confidence": (info.width, info.height),
    }
    self._sinks: dict[str, Sink] = {}
    for name, (width, height) in shapes.items():
      path = getattr(paths, name)
      if path is not None:
        own = dataclasses.replace(plain, width=width, height=height)
        self._sinks[name] = self._stack.enter_context(open_sink(path, own))
    self._arrays = None
    if paths.confidence is not None:
      self._arrays = self._stack.enter_context(
        _ArrayFile(paths.confidence.with_suffix(".npz"))
      )

  def write(self, done: RestoredFrame, number: int) -> None:
    """Writes all that is wanted of one frame.

    Args:
      done: the frame.
      number: of it, from 0.
    """
    for name, sink in self._sinks.items():
      image = _PICTURES[name](done, self._size)
      sink.write(TimedFrame(image, done.source.pts))
    if self._arrays is not None and done.spread is not None:
      self._arrays.add(f"frame_{number:06d}", done.spread)

  def __exit__(self, *exception) -> None:
    self._stack.__exit__(*exception)


class _ArrayFile:
  """An .npz file that grows array by array; all of it or nothing."""

  def __init__(self, path: Path):
    self._path = path
    self._partial = path.with_name(f"partial-{path.name}")
    self._zip = zipfile.ZipFile(self._partial, "w", zipfile.ZIP_DEFLATED)

  def __enter__(self) -> "_ArrayFile":
    return self

  def add(self, name: str, values: np.ndarray) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy")  # without the time of day
    entry.compress_type = zipfile.ZIP_DEFLATED
    with self._zip.open(entry, "w") as file:
      np.lib.format.write_array(file, values.astype(np.float16))

  def __exit__(self, kind, value, traceback) -> None:
    self._zip.close()
    if kind is None:
      self._partial.replace(self._path)
    else:
      self._partial.unlink()


def _mask(done: RestoredFrame, size: int) -> np.ndarray:
  del size
  if done.alpha is None:
    return np.zeros_like(done.image)
  grey = np.ceil(255 * done.alpha).astype(np.uint8)  # black: untouched
  return np.repeat(grey[..., None], 3, axis=2)


def _guidance(done: RestoredFrame, size: int) -> np.ndarray:
  record, nothing = done.source.record, np.zeros((size, size, 3), np.uint8)
  if record is None:
    return np.hstack([nothing] * 3)
  return np.hstack(
    [
      np.where(record.mask[..., None] > 0, nothing, record.image),
      record.symmetric if record.symmetric_valid else nothing,
      nothing if done.past is None else done.past,
    ]
  )


def _side_by_side(done: RestoredFrame, size: int) -> np.ndarray:
  del size
  return np.hstack([done.source.image, done.image])


def _confidence(done: RestoredFrame, size: int) -> np.ndarray:
  del size
  if done.spread is None or done.alpha is None:
    return done.source.image
  strength = np.clip(done.spread / _STRONGEST * 255, 0, 255).astype(np.uint8)
  colours = cv2.applyColorMap(strength, cv2.COLORMAP_TURBO)[..., ::-1]
  weight = 0.7 * done.alpha[..., None]
  mixed = done.image + weight * (colours.astype(np.float32) - done.image)
  return np.round(mixed).astype(np.uint8)


_PICTURES = {
  "mask": _mask,
  "guidance": _guidance,
  "side_by_side": _side_by_side,
  "confidence": _confidence,
}
