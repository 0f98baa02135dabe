"""Windows of adjacent frames, shuffled and batched by grain.

The order depends on the seed alone. Each process reads the rows of the global
batch that its devices need, so the batch is the same on any number of
processes, and the iterator's state is one integer.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import cv2
import grain
import numpy as np

from diffmvr_jax.config import DataConfig
from diffmvr_jax.data.record_codec import EncodedFrame, FrameRecord
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError

Window = dict[str, np.ndarray]

# Images of a training window with their channels, and its flags, by frame.
CHANNELS = {"frame": 3, "mask": 1, "symmetric": 3, "past": 3, "target": 3}
FLAGS = ("symmetric_valid", "past_valid")


class WindowSource:
  """Random access to windows of `window` frames, `stride` frames apart.

  Args:
    records: the frames.
    window: frames per window.
    stride: distance between the frames of a window.
    image_size: expected height and width of the crops.
    occluded_only: leaves out windows in which nothing is occluded.

  Raises:
    InputError: no video is long enough.
  """

  def __init__(
    self,
    records: RecordSource,
    *,
    window: int,
    stride: int,
    image_size: int,
    occluded_only: bool = True,
  ):
    self._records = records
    self._offsets = np.arange(window) * stride
    self._image_size = image_size
    span = int(self._offsets[-1]) + 1
    occlusion = np.asarray(records.index.occlusion)
    frame_index = np.asarray(records.index.frame_index)
    self._starts = [
      start
      for _, positions in records.videos()
      for start in positions[: max(0, len(positions) - span + 1)]
      # A frame without a face has no record: windows do not reach over it.
      if frame_index[start + span - 1] - frame_index[start] == span - 1
      and (not occluded_only or occlusion[start + self._offsets].any())
    ]
    if not self._starts:
      raise InputError(
        f"{records.shards[0].parent}: no window of {window} frames with an "
        "occlusion; use longer videos or a smaller data.window"
      )

  def __len__(self) -> int:
    return len(self._starts)

  def __repr__(self) -> str:
    return f"WindowSource({self._records!r}, {len(self)} windows)"

  def positions(self, i: int) -> np.ndarray:
    """Where the frames of a window stand among the records, (frame,)."""
    return self._starts[i] + self._offsets

  def __getitem__(self, i: int) -> Window:
    """Reads one window as arrays of shape (frame, …), named as the contract.

    Raises:
      InputError: a record is damaged, has another size, or lacks a target.
    """
    batch = self.read([i], [False])
    return {name: value[0] for name, value in batch.items()}

  def read(self, indices: Sequence[int], flips: Sequence[bool]) -> Window:
    """Reads several windows as arrays of shape (window, frame, …).

    Args:
      indices: which windows.
      flips: which of them to mirror left to right.

    Raises:
      InputError: as `__getitem__`.
    """
    batch = _empty((len(indices), len(self._offsets)), self._image_size)
    for row, (i, flip) in enumerate(zip(indices, flips, strict=True)):
      window = {name: value[row] for name, value in batch.items()}
      positions = self.positions(i).tolist()
      if not _fill(window, self._records, positions, flip=flip):
        raise InputError(
          f"{self._records.shards[0].parent}: frames without a target cannot "
          "be trained on; export with `--occlusion synthetic`"
        )
    batch["window_id"] = np.asarray([self._starts[i] for i in indices])
    return batch


def read_frames(records: RecordSource, positions: list[int]) -> Window:
  """Reads frames, and their past frames, as arrays.

  Returns:
    Arrays (frame, …), named as the contract; `target` is there if every frame
    has one.

  Raises:
    InputError: a record is damaged or of another size than the first.
  """
  size = len(records[positions[0]].image)
  window = _empty((len(positions),), size)
  if not _fill(window, records, positions):
    del window["target"]
  return window


def _empty(shape: tuple[int, ...], size: int) -> Window:
  """Arrays of the contract, with these leading axes."""
  images = {
    name: np.empty((*shape, size, size, channels), np.uint8)
    for name, channels in CHANNELS.items()
  }
  return images | {name: np.empty(shape, bool) for name in FLAGS}


class _FrameReader:
  """Decodes frames straight into the arrays of a window.

  Reading is bound by copies and fresh pages, so that each image is decoded
  once and written once.

  Args:
    records: where the frames are.
    window: arrays (frame, …) to fill.
    flip: mirror everything left to right.
  """

  def __init__(self, records: RecordSource, window: Window, *, flip: bool):
    self._records, self._window, self._flip = records, window, flip
    self._decoded: dict[int, np.ndarray] = {}  # images by their position

  def read(self, k: int, position: int) -> bool:
    """Fills place k of the window; returns whether the frame has a target.

    Raises:
      InputError: a record is damaged or of another size.
    """
    has_target = self._records.read(position, partial(self._put_frame, k))
    self._decoded[position] = self._window["frame"][k]
    self._put_past(k, self._records.past_position(position))
    return has_target

  def _put_frame(self, k: int, frame: EncodedFrame) -> bool:
    window, has_target = self._window, "target" in frame
    window["symmetric_valid"][k] = frame.integers("symmetric_valid")[0]
    self._put(window["frame"][k], frame.picture("image"))
    self._put(window["symmetric"][k], frame.picture("symmetric"))
    self._put(window["mask"][k, ..., 0], frame.mask("mask"))
    if has_target:
      self._put(window["target"][k], frame.picture("target"))
    return has_target

  def _put_past(self, k: int, position: int | None) -> None:
    place = self._window["past"][k]
    self._window["past_valid"][k] = position is not None
    if position is None:
      place.fill(0)
    elif position in self._decoded:
      np.copyto(place, self._decoded[position])
    else:
      self._put(place, self._records.read(position, _image))
      self._decoded[position] = place

  def _put(self, place: np.ndarray, image: np.ndarray) -> None:
    if len(image) != len(place):
      raise InputError(
        f"{self._records.shards[0].parent}: crops are {len(image)} px, "
        f"data.image_size is {len(place)}"
      )
    if self._flip:
      cv2.flip(image, 1, place)
    else:
      np.copyto(place, image)


def _image(frame: EncodedFrame) -> np.ndarray:
  return frame.picture("image")


def _fill(
  window: Window,
  records: RecordSource,
  positions: Sequence[int],
  *,
  flip: bool = False,
) -> bool:
  """Reads frames into a window; returns whether all of them have a target."""
  reader = _FrameReader(records, window, flip=flip)
  have_target = [reader.read(k, i) for k, i in enumerate(positions)]
  return all(have_target)


def stack_frames(
  frames: Sequence[FrameRecord], past: Callable[[FrameRecord], np.ndarray]
) -> Window:
  """Stacks frames into arrays of shape (frame, …), named as the contract.

  Args:
    frames: adjacent frames of one video.
    past: gives a frame's past image; called only for frames that have one.

  Returns:
    Masks are (frame, h, w, 1); `target` is there if every frame has one.
  """
  window = {
    "frame": np.stack([f.image for f in frames]),
    "mask": np.stack([f.mask for f in frames])[..., None],
    "symmetric": np.stack([f.symmetric for f in frames]),
    "past": np.stack(
      [past(f) if f.past_index >= 0 else np.zeros_like(f.image) for f in frames]
    ),
    "symmetric_valid": np.asarray([f.symmetric_valid for f in frames]),
    "past_valid": np.asarray([f.past_index >= 0 for f in frames]),
  }
  targets = [f.target for f in frames if f.target is not None]
  if len(targets) == len(frames):
    window["target"] = np.stack(targets)
  return window


class _RandomFlip(grain.transforms.RandomMap):
  """Decides for half of the windows that they are mirrored."""

  def random_map(
    self, element: int, rng: np.random.Generator
  ) -> tuple[int, bool]:
    """Adds the decision to a window's number."""
    return element, bool(rng.random() >= 0.5)


class _Rows(grain.MapDataset):
  """Keeps only some rows of each batch of the parent's elements."""

  def __init__(
    self, parent: grain.MapDataset, batch_size: int, rows: Sequence[int]
  ):
    super().__init__(parent)
    self._batch_size, self._rows = batch_size, rows

  def __len__(self) -> int:
    return len(self._parent) // self._batch_size * len(self._rows)

  def __getitem__(self, index):
    batch, row = divmod(index, len(self._rows))
    return self._parent[batch * self._batch_size + self._rows[row]]


@runtime_checkable
class Windows(Protocol):
  """What batches are made of: images, or encoded frames."""

  def __len__(self) -> int:
    """How many windows there are."""
    ...

  def read(self, indices: Sequence[int], flips: Sequence[bool]) -> Window:
    """Arrays (window, frame, …), and `window_id`."""
    ...


def training_batches(
  source: Windows,
  config: DataConfig,
  *,
  batch_size: int,
  seed: int,
  rows: Sequence[int] | None = None,
) -> grain.DatasetIterator:
  """An endless, checkpointable iterator over this process's batches.

  Args:
    source: the windows.
    config: flipping and reader threads.
    batch_size: windows per step over all processes.
    seed: decides order and flips.
    rows: rows of the batch that this process feeds; None: all of them.

  Returns:
    An iterator of `Window`s with a leading batch axis; `get_state()` and
    `set_state()` are its checkpoint, which is a count of batches, and so the
    same for any number of processes.
  """
  # Only numbers are shuffled and batched; the images come last, at once.
  chosen = grain.MapDataset.source(range(len(source))).seed(seed)
  chosen = chosen.shuffle().repeat()
  if config.flip:
    chosen = chosen.random_map(_RandomFlip())
  else:
    chosen = chosen.map(lambda i: (i, False))
  if rows is not None and len(rows) < batch_size:
    chosen = _Rows(chosen, batch_size, rows)
    batch_size = len(rows)
  # Rounding the endless length up, the default, overflows at batch size 1.
  batches = chosen.batch(batch_size, drop_remainder=True)
  batches = batches.map(lambda b: source.read(b[0].tolist(), b[1].tolist()))
  options = grain.ReadOptions(
    num_threads=config.threads, prefetch_buffer_size=4 * config.threads
  )
  return iter(batches.to_iter_dataset(options))
