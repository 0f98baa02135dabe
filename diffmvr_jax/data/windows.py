"""Windows of adjacent frames, shuffled and batched by grain.

The order is a function of the seed alone. Each process reads the rows of the
global batch that its devices need, so the batch is the same on any number of
processes, and the iterator's state is one integer.
"""

from collections.abc import Callable, Sequence

import cv2
import grain
import numpy as np

from diffmvr_jax.config import DataConfig
from diffmvr_jax.data.codec import FrameRecord
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError

Window = dict[str, np.ndarray]


class WindowSource(grain.sources.RandomAccessDataSource[Window]):
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

  def __getitem__(self, i: int) -> Window:
    """Reads one window as arrays of shape (frame, …), named as the contract.

    Raises:
      InputError: a record is damaged, has another size, or lacks a target.
    """
    positions = (self._starts[i] + self._offsets).tolist()
    window = read_frames(self._records, positions)
    size = window["frame"].shape[1]
    folder = self._records.shards[0].parent
    if size != self._image_size:
      raise InputError(
        f"{folder}: crops are {size} px, data.image_size is {self._image_size}"
      )
    if "target" not in window:
      raise InputError(
        f"{folder}: frames without a target cannot be trained on; export with "
        "`--occlusion synthetic`"
      )
    window["window_id"] = np.asarray(self._starts[i])
    return window


def read_frames(records: RecordSource, positions: list[int]) -> Window:
  """Reads frames of one video, and their past frames, as arrays."""
  frames = [records[i] for i in positions]
  images = {frame.frame_index: frame.image for frame in frames}

  def past(frame: FrameRecord) -> np.ndarray:
    index = frame.past_index
    if index not in images:
      position = records.position(frame.video_id, index)
      images[index] = records[position].image
    return images[index]

  return stack_frames(frames, past)


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


class RandomFlip(grain.transforms.RandomMap):
  """Mirrors a whole window left to right, half of the time."""

  def random_map(self, element: Window, rng: np.random.Generator) -> Window:
    """Flips every image of the window alike."""
    if rng.random() < 0.5:
      return element
    for value in element.values():
      if value.ndim == 4:
        for image in value:  # in place: new pages cost more than the flip
          cv2.flip(image, 1, image)
    return element


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


def training_batches(
  source: WindowSource,
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
  windows = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
  if config.flip:
    windows = windows.random_map(RandomFlip())
  if rows is not None and len(rows) < batch_size:
    windows = _Rows(windows, batch_size, rows)
    batch_size = len(rows)
  # Rounding the endless length up, the default, overflows at batch size 1.
  batches = windows.batch(batch_size, drop_remainder=True)
  options = grain.ReadOptions(
    num_threads=config.threads, prefetch_buffer_size=4 * config.threads
  )
  return iter(batches.to_iter_dataset(options))
