"""Windows of adjacent frames, as arrays named as in the data contract."""

from collections.abc import Collection, Sequence
from functools import partial

import cv2
import numpy as np

from diffmvr_jax.data.record_codec import (
  SOURCES_PER_FRAME,
  EncodedFrame,
)
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError

Window = dict[str, np.ndarray]

# Images of a training window with their channels, and its flags, by frame.
CHANNELS = {"frame": 3, "mask": 1, "symmetric": 3, "past": 3, "target": 3}
FLAGS = ("symmetric_valid", "past_valid")

# Arrays that are read only if they are asked for:
# what was seen before, carried under the mask, and 255 where it is visible, 0
# where nothing was ever seen;
PROPAGATED = ("propagated", "propagated_confidence")
# the k frames that it is made of, as they were (the `propagated` of those
# frames), 1 where they show what was seen, the flow to them, and whether there
# is one.
SOURCES = ("sources", "source_known", "source_flow", "source_valid")


def array_types(
  size: int, arrays: Collection[str] = ()
) -> dict[str, tuple[tuple[int, ...], type]]:
  """Shapes, without the leading axes, and types of the arrays of a window.

  Args:
    size: height and width of the crops.
    arrays: which of `PROPAGATED` and `SOURCES` are there as well.
  """
  k, grid, image = SOURCES_PER_FRAME, size // 2, (size, size)
  types: dict[str, tuple[tuple[int, ...], type]] = {
    name: ((*image, channels), np.uint8) for name, channels in CHANNELS.items()
  }
  types |= dict.fromkeys(FLAGS, ((), np.bool_))
  aligned: dict[str, tuple[tuple[int, ...], type]] = {
    "propagated": ((*image, 3), np.uint8),
    "propagated_confidence": ((*image, 1), np.uint8),
    "sources": ((k, *image, 3), np.uint8),
    "source_known": ((k, *image, 1), np.uint8),
    "source_flow": ((k, grid, grid, 2), np.float16),
    "source_valid": ((k,), np.bool_),
  }
  return types | {name: aligned[name] for name in arrays}


class WindowSource:
  """Random access to windows of `window` frames, `stride` frames apart.

  Args:
    records: the frames.
    window: frames per window.
    stride: distance between the frames of a window.
    image_size: expected height and width of the crops.
    occluded_only: leaves out windows in which nothing is occluded.
    arrays: which of `PROPAGATED` and `SOURCES` are read as well.

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
    arrays: Collection[str] = (),
  ):
    self._records, self._arrays = records, arrays
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
    shape = len(indices), len(self._offsets)
    batch = _empty(shape, self._image_size, self._arrays)
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


def read_frames(
  records: RecordSource,
  positions: list[int],
  arrays: Collection[str] = (),
) -> Window:
  """Reads frames, and their past frames, as arrays.

  Args:
    records: where the frames are.
    positions: which of them.
    arrays: which of `PROPAGATED` and `SOURCES` are read as well.

  Returns:
    Arrays (frame, …), named as the contract; `target` is there if every frame
    has one.

  Raises:
    InputError: a record is damaged or of another size than the first.
  """
  size = len(records[positions[0]].image)
  window = _empty((len(positions),), size, arrays)
  if not _fill(window, records, positions):
    del window["target"]
  return window


def stored_arrays(records: RecordSource, position: int) -> tuple[str, ...]:
  """Returns which of `PROPAGATED` and `SOURCES` a record gives."""

  def find(frame: EncodedFrame) -> tuple[str, ...]:
    propagated = PROPAGATED if "propagated" in frame else ()
    return propagated + (SOURCES if "source_index" in frame else ())

  return records.read(position, find)


def _empty(
  shape: tuple[int, ...], size: int, arrays: Collection[str]
) -> Window:
  """Arrays of the contract, with these leading axes."""
  return {
    name: np.empty((*shape, *own), kind)
    for name, (own, kind) in array_types(size, arrays).items()
  }


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
    # By position: images, and propagated images with what is known of them.
    self._decoded: dict[int, np.ndarray] = {}
    self._propagated: dict[int, tuple[np.ndarray, np.ndarray]] = {}

  def read(self, k: int, position: int) -> bool:
    """Fills place k of the window; returns whether the frame has a target.

    Raises:
      InputError: a record is damaged or of another size.
    """
    decode = partial(self._put_frame, k, position)
    has_target = self._records.read(position, decode)
    self._decoded[position] = self._window["frame"][k]
    self._put_past(k, self._records.past_position(position))
    return has_target

  def _put_frame(self, k: int, position: int, frame: EncodedFrame) -> bool:
    window, has_target = self._window, "target" in frame
    window["symmetric_valid"][k] = frame.integers("symmetric_valid")[0]
    self._put(window["frame"][k], frame.picture("image"))
    self._put(window["symmetric"][k], frame.picture("symmetric"))
    self._put(window["mask"][k, ..., 0], frame.mask("mask"))
    if has_target:
      self._put(window["target"][k], frame.picture("target"))
    if "propagated" in window:
      self._put_propagated(k, position, frame)
    if "sources" in window:
      self._put_sources(k, frame)
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

  def _put_propagated(self, k: int, position: int, frame: EncodedFrame) -> None:
    image = self._window["propagated"][k]
    levels = self._window["propagated_confidence"][k, ..., 0]
    self._put(image, frame.picture("propagated"))
    self._put(levels, frame.levels("propagated_confidence"))
    self._propagated[position] = image, known(levels)

  def _put_sources(self, k: int, frame: EncodedFrame) -> None:
    window, video = self._window, frame.text("video_id")
    self._put_flows(window["source_flow"][k], frame.flows("source_flow"))
    for j, index in enumerate(frame.integers("source_index")):
      window["source_valid"][k, j] = index >= 0
      places = window["sources"][k, j], window["source_known"][k, j, ..., 0]
      if index < 0:
        for place in places:
          place.fill(0)
        continue
      position = self._records.position(video, index)
      if index > frame.integers("frame_index")[0]:
        self._records.read(position, partial(self._put_later, places))
      elif position in self._propagated:
        values = self._propagated[position]
        for place, value in zip(places, values, strict=True):
          np.copyto(place, value)
      else:
        self._records.read(position, partial(self._put_source, places))
        self._propagated[position] = places

  def _put_later(
    self, places: tuple[np.ndarray, np.ndarray], frame: EncodedFrame
  ) -> None:
    """A frame that comes later was looked at before it was propagated to."""
    self._put(places[0], frame.picture("image"))
    self._put(places[1], 1 - frame.mask("mask"))

  def _put_source(
    self, places: tuple[np.ndarray, np.ndarray], frame: EncodedFrame
  ) -> None:
    self._put(places[0], frame.picture("propagated"))
    self._put(places[1], known(frame.levels("propagated_confidence")))

  def _put_flows(self, place: np.ndarray, flows: np.ndarray) -> None:
    if flows.shape != place.shape:
      raise InputError(
        f"{self._records.shards[0].parent}: flows are {flows.shape}, and "
        f"{place.shape} is expected; export it again"
      )
    if self._flip:
      np.multiply(flows[:, :, ::-1], np.array([-1, 1], np.float16), place)
    else:
      np.copyto(place, flows)

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


def known(confidence: np.ndarray) -> np.ndarray:
  """Returns a mask, 1 where a propagated image shows what was seen."""
  return (confidence > 0).astype(np.uint8)


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
