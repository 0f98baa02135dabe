"""The data contract: one TFRecord `Example` per frame, one seek per frame.

A data set is a folder of shards `diffmvr-SPLIT.tfrecord-XXXXX-of-YYYYY`, each
beside its index `….index.json`. A video's frames are contiguous and ascending
in one shard. The folder is also a TFDS data set (`dataset_info.json`,
`features.json`). This module needs neither TensorFlow nor JAX.

A TFRecord is: length (uint64), masked CRC-32C of it, data, masked CRC-32C of
the data, all little-endian.
"""

import hashlib
import io
import json
import os
import struct
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image
from tensorflow_datasets.proto import tf_example_generated_pb2 as tf_example

from diffmvr_jax.errors import InputError

DATASET = "diffmvr"
JPEG_QUALITY = 95
_FRAMING = 16  # bytes around each record: 8 + 4 before, 4 after


@dataclass(frozen=True, kw_only=True)
class FrameRecord:
  """One frame, cropped around the face.

  Attributes:
    video_id: the video; its frames share it.
    frame_index: position in the source video, from 0.
    fps: frames per second of the source.
    image: (h, w, 3) uint8, the frame as filmed or with a pasted occluder.
    target: (h, w, 3) uint8, the unoccluded truth; None for real occlusions.
    mask: (h, w) uint8, 1 on the occlusion, else 0.
    symmetric: (h, w, 3) uint8, the visible half mirrored.
    symmetric_valid: whether `symmetric` could be made.
    past_index: `frame_index` of the past frame in the same video, or −1.
    crop_transform: (2, 3) float32, affine map from source to crop pixels.
    landmarks: (k, 2) float32, in crop pixels; k may be 0.
    source_path: where the video came from.
    source_sha256: of the source file.
  """

  video_id: str
  frame_index: int
  fps: float
  image: np.ndarray
  target: np.ndarray | None
  mask: np.ndarray
  symmetric: np.ndarray
  symmetric_valid: bool
  past_index: int
  crop_transform: np.ndarray
  landmarks: np.ndarray
  source_path: str
  source_sha256: str


@dataclass(kw_only=True)
class ShardIndex:
  """What a reader needs to know of a shard's records, one entry per frame."""

  offset: list[int] = field(default_factory=list)
  length: list[int] = field(default_factory=list)
  video_id: list[str] = field(default_factory=list)
  frame_index: list[int] = field(default_factory=list)
  past_index: list[int] = field(default_factory=list)
  occlusion: list[float] = field(default_factory=list)  # share of the crop


def encode_frame(record: FrameRecord) -> bytes:
  """Serialises a frame as a `tf.train.Example`; masks as PNG, images JPEG."""
  example = tf_example.Example()
  feature = example.features.feature
  images = {"image": record.image, "symmetric": record.symmetric}
  if record.target is not None:
    images["target"] = record.target
  for key, image in images.items():
    feature[key].bytes_list.value.append(_compress(image, "JPEG"))
  mask = _compress(record.mask * np.uint8(255), "PNG")
  feature["mask"].bytes_list.value.append(mask)
  for key, text in (
    ("video_id", record.video_id),
    ("source/path", record.source_path),
    ("source/sha256", record.source_sha256),
  ):
    feature[key].bytes_list.value.append(text.encode())
  for key, number in (
    ("frame_index", record.frame_index),
    ("past_index", record.past_index),
    ("symmetric_valid", int(record.symmetric_valid)),
  ):
    feature[key].int64_list.value.append(number)
  for key, numbers in (
    ("fps", [record.fps]),
    ("crop_transform", record.crop_transform.ravel()),
    ("landmarks", record.landmarks.ravel()),
  ):
    feature[key].float_list.value.extend(float(x) for x in numbers)
  # Equal records must give equal bytes; protobuf maps have no order of theirs.
  return example.SerializeToString(deterministic=True)


def decode_frame(data: bytes) -> FrameRecord:
  """Undoes `encode_frame`, up to JPEG's loss.

  Raises:
    ValueError: not an `Example`, or a key of the contract is missing.
  """
  try:
    feature = tf_example.Example.FromString(data).features.feature
  except DecodeError as error:
    raise ValueError(f"not a tf.train.Example ({error})") from error

  def one(key: str, kind: str):
    values = list(getattr(feature[key], kind).value) if key in feature else []
    if not values:
      raise ValueError(f"key {key!r} is missing")
    return values[0]

  def numbers(key: str, columns: int) -> np.ndarray:
    values = feature[key].float_list.value
    return np.asarray(values, np.float32).reshape(-1, columns)

  return FrameRecord(
    video_id=one("video_id", "bytes_list").decode(),
    frame_index=one("frame_index", "int64_list"),
    fps=one("fps", "float_list"),
    image=_decompress(one("image", "bytes_list")),
    target=_decompress(one("target", "bytes_list"))
    if "target" in feature
    else None,
    mask=_decompress(one("mask", "bytes_list")) // np.uint8(128),
    symmetric=_decompress(one("symmetric", "bytes_list")),
    symmetric_valid=bool(one("symmetric_valid", "int64_list")),
    past_index=one("past_index", "int64_list"),
    crop_transform=numbers("crop_transform", 3),
    landmarks=numbers("landmarks", 2),
    source_path=one("source/path", "bytes_list").decode(),
    source_sha256=one("source/sha256", "bytes_list").decode(),
  )


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


def write_atomically(path: Path, text: str) -> None:
  """Writes a text file so that a reader sees all of it or none."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text)
  partial.replace(path)


def index_path(shard: Path) -> Path:
  """Where a shard's index lies."""
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

  def __getitem__(self, i: int) -> FrameRecord:
    """Reads one frame.

    Raises:
      InputError: the record is damaged; names shard, record and offset.
    """
    number = self._shard[i]
    offset, length = self.index.offset[i], self.index.length[i]
    data = os.pread(self._files[number], length + _FRAMING, offset)
    record = i - self._shard.index(number)
    where = f"{self.shards[number]}: record {record} at byte {offset}"
    try:
      return decode_frame(_unframe(data, length))
    except ValueError as error:
      raise InputError(f"{where}: {error}; export it again") from error

  def videos(self) -> Iterator[tuple[str, range]]:
    """Every video with the positions of its frames."""
    ids, start = self.index.video_id, 0
    for i in range(1, len(ids) + 1):
      if i == len(ids) or ids[i] != ids[start]:
        yield ids[start], range(start, i)
        start = i


def sha256(path: str | Path) -> str:
  """Hex digest of a file."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


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


def _compress(image: np.ndarray, kind: str) -> bytes:
  buffer = io.BytesIO()
  # 4:4:4 keeps the colour edges of a small crop.
  options = (
    {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {}
  )
  Image.fromarray(image).save(buffer, kind, **options)
  return buffer.getvalue()


def _decompress(data: bytes) -> np.ndarray:
  try:
    return np.asarray(Image.open(io.BytesIO(data)))
  except OSError as error:
    raise ValueError(f"an image does not decode ({error})") from error
