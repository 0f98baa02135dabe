"""The data contract: one TFRecord `Example` per frame, one seek per frame.

A data set is a folder of shards `diffmvr-SPLIT.tfrecord-XXXXX-of-YYYYY`, each
beside its index `….index.json`. A video's frames are contiguous and ascending
in one shard. The folder is also a TFDS data set (`dataset_info.json`,
`features.json`). This module needs neither TensorFlow nor JAX.

A TFRecord is: length (uint64), masked CRC-32C of it, data, masked CRC-32C of
the data, all little-endian.
"""

import json
import os
import struct
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import google_crc32c

from diffmvr_jax.data.record_codec import (
  EncodedFrame,
  FrameRecord,
  decode_frame,
  encode_frame,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import write_atomically

Result = TypeVar("Result")

DATASET = "diffmvr"
_FRAMING = 16  # bytes around each record: 8 + 4 before, 4 after


@dataclass(kw_only=True)
class ShardIndex:
  """What a reader needs to know of a shard's records, one entry per frame."""

  offset: list[int] = field(default_factory=list)
  length: list[int] = field(default_factory=list)
  video_id: list[str] = field(default_factory=list)
  frame_index: list[int] = field(default_factory=list)
  past_index: list[int] = field(default_factory=list)
  occlusion: list[float] = field(default_factory=list)  # share of the crop


class ShardWriter:
  """Writes one shard and its index; both appear whole or not at all.

  Example:
    >>> with ShardWriter("clip.tfrecord") as writer:  # doctest: +SKIP
    ...   writer.write(record)
  """

  def __init__(self, path: str | Path):
    self._path = Path(path)
    self._partial = self._path.with_name(self._path.name + ".partial")
    self._file = open(self._partial, "wb")  # noqa: SIM115 (closed by __exit__)
    self._index = ShardIndex()

  def __enter__(self) -> "ShardWriter":
    return self

  def write(self, record: FrameRecord) -> None:
    """Appends one frame."""
    data = encode_frame(record)
    header = struct.pack("<Q", len(data))
    self._index.offset.append(self._file.tell())
    self._index.length.append(len(data))
    self._index.video_id.append(record.video_id)
    self._index.frame_index.append(record.frame_index)
    self._index.past_index.append(record.past_index)
    self._index.occlusion.append(round(float(record.mask.mean()), 6))
    self._file.write(
      b"".join((header, _masked_crc(header), data, _masked_crc(data)))
    )

  def __exit__(self, kind, value, traceback) -> None:
    self._file.close()
    if kind is not None:
      self._partial.unlink()
      return
    write_atomically(index_path(self._path), json.dumps(asdict(self._index)))
    # The shard comes last: where it exists, its index does.
    self._partial.replace(self._path)


def index_path(shard: Path) -> Path:
  """Path of a shard's index."""
  return shard.with_name(shard.name + ".index.json")


def shard_name(split: str, number: int, total: int) -> str:
  """File name of a shard, as TFDS expects it.

  Example:
    >>> shard_name("train", 0, 4)
    'diffmvr-train.tfrecord-00000-of-00004'
  """
  return f"{DATASET}-{split}.tfrecord-{number:05d}-of-{total:05d}"


def read_index(shard: Path) -> ShardIndex:
  """Loads a shard's index.

  Raises:
    InputError: the index is missing or damaged.
  """
  path = index_path(shard)
  try:
    return ShardIndex(**json.loads(path.read_text()))
  except (OSError, ValueError, TypeError) as error:
    raise InputError(
      f"{path}: missing or damaged index; export the video again ({error})"
    ) from error


class RecordSource:
  """Random access to the frames of one split; every read checks both CRCs.

  Satisfies grain's `RandomAccessDataSource`.

  Args:
    folder: the data set.
    split: `train`, `validation` or `test`.

  Raises:
    InputError: no such folder, no shard of the split, a missing shard.
  """

  def __init__(self, folder: str | Path, split: str):
    folder = Path(folder)
    if not folder.is_dir():
      raise InputError(f"{folder}: no such data folder")
    pattern = f"{DATASET}-{split}.tfrecord-?????-of-?????"
    self.shards = sorted(folder.glob(pattern))
    if not self.shards:
      raise InputError(
        f"{folder}: no {split} records here; write some with "
        "`python -m data_prep export`"
      )
    total = int(self.shards[0].name[-5:])
    if len(self.shards) != total:
      raise InputError(
        f"{folder}: {len(self.shards)} of {total} {split} shards found"
      )
    self._files = [os.open(path, os.O_RDONLY) for path in self.shards]
    weakref.finalize(self, _close_all, self._files)
    self.index = ShardIndex()
    self._shard: list[int] = []
    self._position: dict[tuple[str, int], int] = {}
    for number, shard in enumerate(self.shards):
      shard_index = read_index(shard)
      for name, values in vars(shard_index).items():
        getattr(self.index, name).extend(values)
      self._shard.extend([number] * len(shard_index.offset))
    for i in range(len(self)):
      self._position[self.index.video_id[i], self.index.frame_index[i]] = i

  def __len__(self) -> int:
    return len(self.index.offset)

  def __repr__(self) -> str:
    return f"RecordSource({self.shards[0].parent}, {len(self)} frames)"

  def position(self, video_id: str, frame_index: int) -> int:
    """Where a frame of a video stands in this source."""
    return self._position[video_id, frame_index]

  def past_position(self, i: int) -> int | None:
    """Where the past frame of a frame stands; None if it has none."""
    past = self.index.past_index[i]
    return self.position(self.index.video_id[i], past) if past >= 0 else None

  def __getitem__(self, i: int) -> FrameRecord:
    """Reads one frame.

    Raises:
      InputError: the record is damaged; names shard, record and offset.
    """
    return self.read(i, decode_frame)

  def read(self, i: int, decode: Callable[[EncodedFrame], Result]) -> Result:
    """Reads what `decode` takes from one frame.

    Raises:
      InputError: the record is damaged, or `decode` raised a ValueError.
    """
    number = self._shard[i]
    offset, length = self.index.offset[i], self.index.length[i]
    data = os.pread(self._files[number], length + _FRAMING, offset)
    try:
      return decode(EncodedFrame(_unframe(data, length)))
    except ValueError as error:
      record = i - self._shard.index(number)
      raise InputError(
        f"{self.shards[number]}: record {record} at byte {offset}: {error}; "
        "export it again"
      ) from error

  def videos(self) -> Iterator[tuple[str, range]]:
    """Every video with the positions of its frames."""
    ids, start = self.index.video_id, 0
    for i in range(1, len(ids) + 1):
      if i == len(ids) or ids[i] != ids[start]:
        yield ids[start], range(start, i)
        start = i


def _close_all(files: list[int]) -> None:
  for file in files:
    os.close(file)


def _unframe(data: bytes, length: int) -> bytes:
  if len(data) < length + _FRAMING:
    raise ValueError("the shard is truncated")
  header, body = data[:8], data[12:-4]
  if struct.unpack("<Q", header)[0] != length:
    raise ValueError("its length differs from the index")
  if _masked_crc(header) != data[8:12] or _masked_crc(body) != data[-4:]:
    raise ValueError("its checksum does not match, the bytes have changed")
  return body


def _masked_crc(data: bytes) -> bytes:
  crc = google_crc32c.value(data)
  rotated = (crc >> 15 | crc << 17) + 0xA282EAD8
  return struct.pack("<I", rotated & 0xFFFFFFFF)
