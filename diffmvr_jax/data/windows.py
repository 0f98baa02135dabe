"""Windows of adjacent frames, shuffled and batched by grain.

The order is a function of the seed alone. Each process reads the rows of the
global batch that its devices need, so the batch is the same on any number of
processes, and the iterator's state is one integer.
"""

from collections.abc import Callable, Sequence
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
    occluded_only: leave out windows in which nothing is occluded.

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


def _fill(
  window: Window,
  records: RecordSource,
  positions: list[int],
  *,
  flip: bool = False,
) -> bool:
  """Decodes frames straight into a window; returns whether all have a target.

  What training reads is bound by copies and fresh pages: each image is
  decoded once and written once.
  """
  size = window["frame"].shape[1]

  def put(slot: np.ndarray, image: np.ndarray) -> None:
    if len(image) != size:
      raise InputError(
        f"{records.shards[0].parent}: crops are {len(image)} px, "
        f"data.image_size is {size}"
      )
    if flip:
      cv2.flip(image, 1, slot)
    else:
      np.copyto(slot, image)

  placed: dict[int, np.ndarray] = {}  # slots by the position they show
  complete = True
  for k, position in enumerate(positions):
    slots = {n: value[k] for n, value in window.items() if value.ndim > 1}

    def place(frame: EncodedFrame, slots: Window = slots, k: int = k) -> None:
      nonlocal complete
      window["symmetric_valid"][k] = frame.integers("symmetric_valid")[0]
      complete &= "target" in frame
      put(slots["frame"], frame.picture("image"))
      put(slots["symmetric"], frame.picture("symmetric"))
      put(slots["mask"][..., 0], frame.mask("mask"))
      if complete:
        put(slots["target"], frame.picture("target"))

    records.read(position, place)
    placed[position] = slots["frame"]
    past = records.past_position(position)
    window["past_valid"][k] = past is not None
    if past is None:
      slots["past"].fill(0)
    elif past in placed:
      np.copyto(slots["past"], placed[past])
    else:
      put(slots["past"], records.read(past, lambda f: f.picture("image")))
      placed[past] = slots["past"]
  return complete


def stack_frames(
  frames: Sequence[FrameRecord], past: Callable[[FrameRecord], np.ndarray]
) -> Window:
  """Stacks frames into arrays of shape (frame, …), named as the contract.

  Args:
    frames: adjacent frames of one video.
    past: gives a frame's past image; called only where it has one.

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
  """Of each batch of the parent's elements, these rows alone."""

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
  """What batches are made of: images, or what was made of them before."""

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
    rows: of the batch, which this process feeds; None: all.

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
