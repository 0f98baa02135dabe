"""The data contract: one TFRecord `Example` per frame, one seek per frame.

A data set is a folder of shards `diffmvr-SPLIT.tfrecord-XXXXX-of-YYYYY`, each
beside its index `….index.json`. A video's frames are contiguous and ascending
in one shard. The folder is also a TFDS data set (`dataset_info.json`,
`features.json`). This module needs neither TensorFlow nor JAX.

A TFRecord is: length (uint64), masked CRC-32C of it, data, masked CRC-32C of
the data, all little-endian.
"""

import fnmatch
import glob
import json
import os
import struct
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeVar

import google_crc32c

from diffmvr_jax.buckets import (
  Place,
  copied,
  files_below,
  place,
  read_bytes,
)
from diffmvr_jax.data.record_codec import (
  EncodedFrame,
  FrameRecord,
  decode_frame,
  encode_frame,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import (
  read_json,
  replacing,
  write_atomically,
  writing,
)

Result = TypeVar("Result")
AnyPath = TypeVar("AnyPath", bound=PurePath)

DATASET = "diffmvr"
_LARGEST = 2**62
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


_INDEX: dict[str, tuple[type, ...]] = {
  "offset": (int,),
  "length": (int,),
  "video_id": (str,),
  "frame_index": (int,),
  "past_index": (int,),
  "occlusion": (float, int),
}


class ShardWriter:
  """Writes one shard and its index; both appear whole or not at all.

  Example:
    >>> with ShardWriter("clip.tfrecord") as writer:  # doctest: +SKIP
    ...   writer.write(record)
  """

  def __init__(self, path: str | Path):
    self._path = Path(path)
    self._index = ShardIndex()
    with ExitStack() as stack:
      partial = stack.enter_context(replacing(self._path))
      # The shard comes last: where it exists, its index does.
      stack.push(self._write_index)
      with writing(self._path):
        self._file = partial.open("wb")
      stack.push(self._close)
      self._opened = stack.pop_all()

  def __enter__(self) -> "ShardWriter":
    return self

  def write(self, record: FrameRecord) -> None:
    """Appends one frame.

    Raises:
      InputError: the video's name or path is not UTF-8, as records have it.
      OSError: the disk does not take it; names the shard.
    """
    try:
      data = encode_frame(record)
    except UnicodeEncodeError as error:
      raise InputError(
        f"{record.source_path}: its name is not UTF-8; rename it"
      ) from error
    header = struct.pack("<Q", len(data))
    self._index.offset.append(self._file.tell())
    self._index.length.append(len(data))
    self._index.video_id.append(record.video_id)
    self._index.frame_index.append(record.frame_index)
    self._index.past_index.append(record.past_index)
    self._index.occlusion.append(round(float(record.mask.mean()), 6))
    with writing(self._path):
      self._file.write(
        b"".join((header, _masked_crc(header), data, _masked_crc(data)))
      )

  def __exit__(self, *exception) -> bool | None:
    return self._opened.__exit__(*exception)

  def _close(self, kind, value, traceback) -> None:
    try:
      with writing(self._path):
        self._file.close()
    except OSError:
      if kind is None:  # else what has failed to be written fails again
        raise

  def _write_index(self, kind, value, traceback) -> None:
    if kind is None:
      write_atomically(index_path(self._path), json.dumps(asdict(self._index)))


def index_path(shard: AnyPath) -> AnyPath:
  """Path of a shard's index."""
  return shard.with_name(shard.name + ".index.json")


def shard_name(split: str, number: int, total: int) -> str:
  """File name of a shard, as TFDS expects it.

  Example:
    >>> shard_name("train", 0, 4)
    'diffmvr-train.tfrecord-00000-of-00004'
  """
  return f"{DATASET}-{split}.tfrecord-{number:05d}-of-{total:05d}"


def read_index(shard: Place) -> ShardIndex:
  """Loads a shard's index.

  Raises:
    InputError: the index is missing or damaged, or it is not of this shard.
  """
  path = index_path(shard)
  with copied(path) as copy:
    content = read_json(copy, "export the video again")
  wrong = _wrong_in_index(content)
  if wrong is not None:
    raise InputError(f"{path}: damaged ({wrong}); export the video again")
  shares = [float(x) for x in content.pop("occlusion")]  # JSON has whole ones
  return ShardIndex(occlusion=shares, **content)


def _wrong_in_index(content: dict[str, Any]) -> str | None:
  """Says what an index has that no writer wrote; None if there is nothing."""
  if content.keys() != _INDEX.keys():
    return f"its keys are not {', '.join(_INDEX)}"
  for name, kinds in _INDEX.items():
    values = content[name]
    if not isinstance(values, list) or not all(
      type(x) in kinds for x in values
    ):
      return f"{name} is no list of {kinds[0].__name__}"
  if len({len(values) for values in content.values()}) > 1:
    return "its lists differ in length"
  if not content["offset"]:
    return "it lists no frame"
  for name in ("offset", "length", "frame_index", "past_index"):
    lowest = -1 if name == "past_index" else 0
    if not all(lowest <= x < _LARGEST for x in content[name]):
      return f"{name} has a negative or impossible number"
  if not all(0 <= x <= 1 for x in content["occlusion"]):
    return "occlusion has a number that is no share"
  return None


class RecordSource:
  """Random access to the frames of one split; every read checks both CRCs.

  Satisfies grain's `RandomAccessDataSource`.

  Args:
    folder: the data set; in a bucket every read is a request.
    split: `train`, `validation` or `test`.

  Attributes:
    shards: its files.
    sizes: bytes of each.
    index: what is known of all frames.

  Raises:
    InputError: no such folder, no shard of the split, a missing shard.
  """

  def __init__(self, folder: str | Place, split: str):
    folder = place(folder)
    pattern = f"{DATASET}-{glob.escape(split)}.tfrecord-?????-of-?????"
    sizes: dict[Place, int]
    if not isinstance(folder, Path):
      sizes = {
        path: known.bytes
        for path, known in files_below(folder).items()
        if path.parent == folder and fnmatch.fnmatchcase(path.name, pattern)
      }
    elif not folder.is_dir():
      raise InputError(f"{folder}: no such data folder")
    else:
      sizes = {p: p.stat().st_size for p in sorted(folder.glob(pattern))}
    self.shards, self.sizes = list(sizes), list(sizes.values())
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
    self._files = [
      os.open(path, os.O_RDONLY)
      for path in self.shards
      if isinstance(path, Path)
    ]
    for file in self._files:
      weakref.finalize(self, os.close, file)
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
    """Where a frame of a video stands in this source.

    Raises:
      InputError: it is not there.
    """
    found = self._position.get((video_id, frame_index))
    if found is None:
      raise InputError(
        f"{self.shards[0].parent}: video {video_id!r} lacks frame "
        f"{frame_index}, which another frame needs; export it again"
      )
    return found

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
    try:
      data = self._bytes(number, offset, length + _FRAMING)
      if len(data) < length + _FRAMING:
        raise ValueError("the shard is truncated")
      return decode(EncodedFrame(_unframe(data, length)))
    except ValueError as error:
      record = i - self._shard.index(number)
      raise InputError(
        f"{self.shards[number]}: record {record} at byte {offset}: {error}; "
        "export it again"
      ) from error

  def _bytes(self, number: int, offset: int, length: int) -> bytes:
    """What is there of a part of a shard."""
    shard = self.shards[number]
    if not isinstance(shard, Path):
      return read_bytes(shard, offset, length)
    file = self._files[number]
    # A damaged index may ask for more than fits into memory.
    return os.pread(file, min(length, os.fstat(file).st_size), offset)

  def videos(self) -> Iterator[tuple[str, range]]:
    """Every video with the positions of its frames."""
    ids, start = self.index.video_id, 0
    for i in range(1, len(ids) + 1):
      if i == len(ids) or ids[i] != ids[start]:
        yield ids[start], range(start, i)
        start = i


def _unframe(data: bytes, length: int) -> bytes:
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
