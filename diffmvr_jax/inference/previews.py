"""Previews: videos that show how a restoration came about."""

import dataclasses
import zipfile
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import cv2
import numpy as np

from diffmvr_jax.files import make_folder, replacing, writing
from diffmvr_jax.inference.stream import RestoredFrame
from diffmvr_jax.media.sinks import Sink, open_sink
from diffmvr_jax.media.video import Colour, TimedFrame, VideoInfo

# Levels of spread that the overlay shows in its strongest colour.
_STRONGEST = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreviewPaths:
  """Where to write each preview, as a name for `open_sink`; None skips it.

  Attributes:
    mask: shows how much of each pixel was replaced; white means all of it.
    guidance: shows, for each frame with a face, side by side, its crop with
      the occlusion blacked out, the symmetric image and the past frame.
    side_by_side: shows source and restoration.
    confidence: shows the restoration with the samples' spread in colours over
      it. A file of the same name with the suffix `.npz` gets an array (h, w)
      for each restored frame: the standard deviation in levels of 0 to 255.
  """

  mask: Path | None = None
  guidance: Path | None = None
  side_by_side: Path | None = None
  confidence: Path | None = None


class Previews(AbstractContextManager):
  """Writes previews frame by frame; they are complete once it is left.

  Args:
    paths: where to write which previews.
    info: size, frame rate and time base of the source.
    crop_size: side of the crops, in pixels.
  """

  def __init__(self, paths: PreviewPaths, info: VideoInfo, crop_size: int):
    self._crop_size = crop_size
    with ExitStack() as stack:
      self._open(stack, paths, info)
      self._stack = stack.pop_all()

  def _open(
    self, stack: ExitStack, paths: PreviewPaths, info: VideoInfo
  ) -> None:
    crop_size = self._crop_size
    plain = dataclasses.replace(info, colour=Colour())
    shapes = {
      "mask": (info.width, info.height),
      "guidance": (3 * crop_size, crop_size),
      "side_by_side": (2 * info.width, info.height),
      "confidence": (info.width, info.height),
    }
    self._sinks: dict[str, Sink] = {}
    for name, (width, height) in shapes.items():
      path = getattr(paths, name)
      if path is not None:
        own = dataclasses.replace(plain, width=width, height=height)
        self._sinks[name] = stack.enter_context(open_sink(path, own))
    self._arrays = None
    if paths.confidence is not None:
      self._arrays = stack.enter_context(
        _ArrayFile(paths.confidence.with_suffix(".npz"))
      )

  def write(self, done: RestoredFrame, number: int) -> None:
    """Adds one frame to every preview.

    Args:
      done: the restored frame.
      number: number of the frame, from 0.
    """
    for name, sink in self._sinks.items():
      image = _PICTURES[name](done, self._crop_size)
      sink.write(TimedFrame(image, done.source.pts))
    if self._arrays is not None and done.spread is not None:
      self._arrays.add(f"frame_{number:06d}", done.spread)

  def __exit__(self, *exception) -> bool | None:
    return self._stack.__exit__(*exception)


class _ArrayFile:
  """An .npz file that grows by one array at a time, and appears when closed."""

  def __init__(self, path: Path):
    self._path = path
    make_folder(path.parent)
    with ExitStack() as stack:
      partial = stack.enter_context(replacing(path))
      with writing(path):
        self._zip = zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED)
      stack.push(self._close)
      self._opened = stack.pop_all()

  def __enter__(self) -> "_ArrayFile":
    return self

  def add(self, name: str, values: np.ndarray) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy")  # without the time of day
    entry.compress_type = zipfile.ZIP_DEFLATED
    with writing(self._path), self._zip.open(entry, "w") as file:
      np.lib.format.write_array(file, values.astype(np.float16))

  def __exit__(self, *exception) -> bool | None:
    return self._opened.__exit__(*exception)

  def _close(self, kind, value, traceback) -> None:
    if kind is None:
      with writing(self._path):
        self._zip.close()
      return
    with suppress(OSError):  # what has failed to be written fails again
      self._zip.close()


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
