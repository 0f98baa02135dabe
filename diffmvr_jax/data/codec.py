"""One frame as a `tf.train.Example`, written and read without TensorFlow."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_generated_pb2 as tf_example

JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class FrameRecord:
  """One frame, cropped around the face.

  Attributes:
    video_id: the video; its frames share it.
    frame_index: position in the source video, from 0.
    fps: average frames per second of the source, exact.
    time: of the frame's presentation, in seconds, exact.
    image: (h, w, 3) uint8, the frame as filmed or with a pasted occluder.
    target: (h, w, 3) uint8, the unoccluded truth; None for real occlusions.
    mask: (h, w) uint8, 1 on the occlusion, else 0.
    symmetric: (h, w, 3) uint8, the visible half mirrored.
    symmetric_mask: (h, w) uint8, 1 where `symmetric` has no pixel to show.
    symmetric_valid: whether `symmetric` is of use.
    past_index: `frame_index` of the past frame in the same video, or −1.
    crop_transform: (2, 3) float32, affine map from source to crop pixels.
    landmarks: (k, 2) float32, in crop pixels; k may be 0.
    source_path: where the video came from.
    source_sha256: of the source file.
  """

  video_id: str
  frame_index: int
  fps: Fraction
  time: Fraction
  image: np.ndarray
  target: np.ndarray | None
  mask: np.ndarray
  symmetric: np.ndarray
  symmetric_mask: np.ndarray
  symmetric_valid: bool
  past_index: int
  crop_transform: np.ndarray
  landmarks: np.ndarray
  source_path: str
  source_sha256: str


def encode_frame(record: FrameRecord) -> bytes:
  """Serialises a frame as a `tf.train.Example`; masks as PNG, images JPEG."""
  example = tf_example.Example()
  feature = example.features.feature
  image = _jpeg(record.image)
  feature["image"].bytes_list.value.append(image)
  for key, other in (
    ("symmetric", record.symmetric),
    ("target", record.target),
  ):
    if other is not None:
      same = other is record.image  # so it is in frames without occlusion
      feature[key].bytes_list.value.append(image if same else _jpeg(other))
  for key, mask in (
    ("mask", record.mask),
    ("symmetric_mask", record.symmetric_mask),
  ):
    feature[key].bytes_list.value.append(_png(mask * np.uint8(255)))
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
  for key, exact in (("fps_exact", record.fps), ("time_exact", record.time)):
    feature[key].int64_list.value.extend(exact.as_integer_ratio())
  for key, numbers in (
    ("fps", [float(record.fps)]),
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

  def some(key: str, kind: str, count: int = 1) -> list:
    values = list(getattr(feature[key], kind).value) if key in feature else []
    if len(values) < count:
      raise ValueError(f"key {key!r} is missing")
    return values

  def one(key: str, kind: str):
    return some(key, kind)[0]

  def fraction(key: str) -> Fraction:
    return Fraction(*some(key, "int64_list", 2))

  pictures: dict[bytes, np.ndarray] = {}

  def picture(key: str) -> np.ndarray:
    # Without occlusion, image, target and symmetric image are the same bytes.
    data = one(key, "bytes_list")
    if data not in pictures:
      pictures[data] = _decompress(data, cv2.IMREAD_COLOR_RGB)
    return pictures[data]

  def mask(key: str) -> np.ndarray:
    return _decode_mask(one(key, "bytes_list"))

  def numbers(key: str, columns: int) -> np.ndarray:
    values = feature[key].float_list.value
    return np.asarray(values, np.float32).reshape(-1, columns)

  return FrameRecord(
    video_id=one("video_id", "bytes_list").decode(),
    frame_index=one("frame_index", "int64_list"),
    fps=fraction("fps_exact"),
    time=fraction("time_exact"),
    image=picture("image"),
    target=picture("target") if "target" in feature else None,
    mask=mask("mask"),
    symmetric=picture("symmetric"),
    symmetric_mask=mask("symmetric_mask"),
    symmetric_valid=bool(one("symmetric_valid", "int64_list")),
    past_index=one("past_index", "int64_list"),
    crop_transform=numbers("crop_transform", 3),
    landmarks=numbers("landmarks", 2),
    source_path=one("source/path", "bytes_list").decode(),
    source_sha256=one("source/sha256", "bytes_list").decode(),
  )


def _jpeg(image: np.ndarray) -> bytes:
  # 4:4:4 keeps the colour edges of a small crop.
  return _compress(
    ".jpg",
    cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
    cv2.IMWRITE_JPEG_QUALITY,
    JPEG_QUALITY,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
  )


def _png(mask: np.ndarray) -> bytes:
  # One bit per pixel: inflating is what decoding costs.
  return _compress(".png", mask, cv2.IMWRITE_PNG_BILEVEL, 1)


@lru_cache(maxsize=16)
def _decode_mask(data: bytes) -> np.ndarray:
  """Most masks of a video are the empty one: it is decoded once."""
  mask = _decompress(data, cv2.IMREAD_GRAYSCALE) >> 7
  mask.flags.writeable = False
  return mask


def _compress(suffix: str, image: np.ndarray, *options: int) -> bytes:
  written, data = cv2.imencode(suffix, image, options)
  assert written
  return data.tobytes()


def _decompress(data: bytes, mode: int) -> np.ndarray:
  # cv2.imdecode refuses an empty array by an exception of its own.
  image = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
  if image is None:
    raise ValueError("an image does not decode")
  return image
