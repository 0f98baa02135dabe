"""One frame as a `tf.train.Example`, written and read without TensorFlow."""

import zlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_generated_pb2 as tf_example

JPEG_QUALITY = 95
# Remembered frames of which the propagated image is made: the propagated frame
# before, the best and the second of those that fit, the last one that nothing
# covered.
SOURCES_PER_FRAME = 4
_FLOW = np.dtype("<f2")
_ZLIB_LEVEL = 4


@dataclass(frozen=True, kw_only=True)
class FrameRecord:
  """One frame, cropped around the face.

  Attributes:
    video_id: the video; its frames share it.
    frame_index: position in the source video, from 0.
    fps: average frames per second of the source, exact.
    time: when the frame is shown, in seconds, exact.
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
    source_sha256: SHA-256 of the source file.
    propagated: (h, w, 3) uint8, the frame with what other frames show carried
      under the mask; None if the records hold no aligned guidance.
    propagated_confidence: (h, w) uint8, 255 where the pixel is visible, 0
      where `propagated` is painted smoothly because nothing was ever seen.
    source_index: (k,) int64, `frame_index` of the frames that `propagated` is
      made of; −1 where there is none. None if the records do not hold them.
    source_flow: (k, g, g, 2) float16 with g = h/2: what the frame shows at p,
      that other one shows at p + flow(p); in pixels x and y of the crop.
    source_images: k images (h, w, 3), the `propagated` of earlier frames, or
      of later ones `image`, where it is not covered; None where there is none.
      They are not written, but found by their index.
    source_known: k masks (h, w), 1 where these show what was seen. They are
      not written either.
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
  propagated: np.ndarray | None = None
  propagated_confidence: np.ndarray | None = None
  source_index: np.ndarray | None = None
  source_flow: np.ndarray | None = None
  source_images: tuple[np.ndarray | None, ...] | None = None
  source_known: tuple[np.ndarray | None, ...] | None = None


def blank_record(size: int) -> FrameRecord:
  """Returns a black frame that is covered, with all of its guidance.

  Args:
    size: side of the crop, in pixels.
  """
  image, mask = np.zeros((size, size, 3), np.uint8), np.zeros((size, size))
  mask = mask.astype(np.uint8)
  mask[size // 4 : size // 2, size // 4 : size // 2] = 1
  count, side = SOURCES_PER_FRAME, size // 2
  return FrameRecord(
    video_id="blank",
    frame_index=0,
    fps=Fraction(25),
    time=Fraction(0),
    image=image,
    target=None,
    mask=mask,
    symmetric=image,
    symmetric_mask=mask,
    symmetric_valid=False,
    past_index=-1,
    crop_transform=np.eye(2, 3, dtype=np.float32),
    landmarks=np.zeros((0, 2), np.float32),
    source_path="",
    source_sha256="",
    propagated=image,
    propagated_confidence=255 * (1 - mask),
    source_index=np.full(count, -1, np.int64),
    source_flow=np.zeros((count, side, side, 2), np.float16),
    source_images=(None,) * count,
    source_known=(None,) * count,
  )


def encode_frame(record: FrameRecord) -> bytes:
  """Serialises a frame as a `tf.train.Example`; masks as PNG, images JPEG."""
  example = tf_example.Example()
  feature = example.features.feature
  image = _jpeg(record.image)
  feature["image"].bytes_list.value.append(image)
  for key, other in (
    ("symmetric", record.symmetric),
    ("target", record.target),
    ("propagated", record.propagated),
  ):
    if other is not None:
      same = other is record.image  # so it is in frames without occlusion
      feature[key].bytes_list.value.append(image if same else _jpeg(other))
  for key, mask in (
    ("mask", record.mask),
    ("symmetric_mask", record.symmetric_mask),
  ):
    feature[key].bytes_list.value.append(_png(mask * np.uint8(255)))
  if record.propagated_confidence is not None:
    feature["propagated_confidence"].bytes_list.value.append(
      _compress(".png", record.propagated_confidence)
    )
  if record.source_index is not None and record.source_flow is not None:
    feature["source_index"].int64_list.value.extend(
      int(i) for i in record.source_index
    )
    feature["source_flow"].bytes_list.value.append(
      zlib.compress(record.source_flow.astype(_FLOW).tobytes(), _ZLIB_LEVEL)
    )
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
  # Equal records must give equal bytes, and protobuf's maps have no order.
  return example.SerializeToString(deterministic=True)


class EncodedFrame:
  """A serialised frame, whose parts are decoded when they are asked for.

  Every accessor raises a ValueError if its key is missing or if the value does
  not decode.

  Raises:
    ValueError: not a `tf.train.Example`.
  """

  def __init__(self, data: bytes):
    try:
      self._feature = tf_example.Example.FromString(data).features.feature
    except DecodeError as error:
      raise ValueError(f"not a tf.train.Example ({error})") from error
    self._pictures: dict[bytes, np.ndarray] = {}

  def __contains__(self, key: str) -> bool:
    return key in self._feature

  def ratio(self, key: str) -> Fraction:
    """An exact number, of a numerator and a denominator."""
    above, below = self.integers(key, 2)[:2]
    if below <= 0:
      raise ValueError(f"key {key!r} is {above}/{below}")
    return Fraction(above, below)

  def integers(self, key: str, count: int = 1) -> list[int]:
    """The integers of a key, at least `count`."""
    return self._values(key, "int64_list", count)

  def text(self, key: str) -> str:
    """A string."""
    return self._bytes(key).decode()

  def numbers(self, key: str, columns: int) -> np.ndarray:
    """A float32 array with `columns` columns."""
    values = self._values(key, "float_list", 0)
    if len(values) % columns:
      raise ValueError(f"key {key!r} holds no rows of {columns} numbers")
    return np.asarray(values, np.float32).reshape(-1, columns)

  def picture(self, key: str) -> np.ndarray:
    """An image, (h, w, 3) uint8."""
    # Without occlusion, image, target and symmetric image are the same bytes.
    data = self._bytes(key)
    if data not in self._pictures:
      self._pictures[data] = _decompress(data, cv2.IMREAD_COLOR_RGB)
    return self._pictures[data]

  def mask(self, key: str) -> np.ndarray:
    """A mask, (h, w) uint8 of 0 and 1, not to be written to."""
    return _decode_mask(self._bytes(key))

  def levels(self, key: str) -> np.ndarray:
    """A grey picture, (h, w) uint8, not to be written to."""
    return _decode_levels(self._bytes(key))

  def flows(self, key: str) -> np.ndarray:
    """Flows of the frame's sources, (k, g, g, 2) float16."""
    try:
      data = zlib.decompress(self._bytes(key))
    except zlib.error as error:
      raise ValueError(f"key {key!r} does not decompress") from error
    values = np.frombuffer(data, _FLOW)
    side = round((len(values) / SOURCES_PER_FRAME / 2) ** 0.5)
    return values.reshape(SOURCES_PER_FRAME, side, side, 2)

  def _bytes(self, key: str) -> bytes:
    return self._values(key, "bytes_list")[0]

  def _values(self, key: str, kind: str, count: int = 1) -> list:
    present = key in self._feature
    values = list(getattr(self._feature[key], kind).value) if present else []
    if len(values) < count:
      raise ValueError(f"key {key!r} is missing")
    return values


def decode_frame(encoded: EncodedFrame) -> FrameRecord:
  """Undoes `encode_frame`, up to JPEG's loss.

  Raises:
    ValueError: a key of the contract is missing, or an image is damaged.
  """
  propagated = "propagated" in encoded
  sources = "source_index" in encoded
  record = FrameRecord(
    video_id=encoded.text("video_id"),
    frame_index=encoded.integers("frame_index")[0],
    fps=encoded.ratio("fps_exact"),
    time=encoded.ratio("time_exact"),
    image=encoded.picture("image"),
    target=encoded.picture("target") if "target" in encoded else None,
    mask=encoded.mask("mask"),
    symmetric=encoded.picture("symmetric"),
    symmetric_mask=encoded.mask("symmetric_mask"),
    symmetric_valid=bool(encoded.integers("symmetric_valid")[0]),
    past_index=encoded.integers("past_index")[0],
    crop_transform=encoded.numbers("crop_transform", 3),
    landmarks=encoded.numbers("landmarks", 2),
    source_path=encoded.text("source/path"),
    source_sha256=encoded.text("source/sha256"),
    propagated=encoded.picture("propagated") if propagated else None,
    propagated_confidence=(
      encoded.levels("propagated_confidence") if propagated else None
    ),
    source_index=(
      np.asarray(encoded.integers("source_index", SOURCES_PER_FRAME))
      if sources
      else None
    ),
    source_flow=encoded.flows("source_flow") if sources else None,
  )
  _refuse_misshapen(record)
  return record


def _refuse_misshapen(record: FrameRecord) -> None:
  shape = record.image.shape[:2]
  for name in (
    "target",
    "mask",
    "symmetric",
    "symmetric_mask",
    "propagated",
    "propagated_confidence",
  ):
    value = getattr(record, name)
    if value is not None and value.shape[:2] != shape:
      raise ValueError(f"{name} is {value.shape[:2]}, the image is {shape}")
  transform = record.crop_transform
  if transform.shape != (2, 3) or not np.isfinite(transform).all():
    raise ValueError("key 'crop_transform' holds no 2 × 3 numbers")
  if record.fps <= 0:
    raise ValueError(f"key 'fps_exact' is {record.fps}")


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


@lru_cache(maxsize=16)
def _decode_levels(data: bytes) -> np.ndarray:
  levels = _decompress(data, cv2.IMREAD_GRAYSCALE)
  levels.flags.writeable = False
  return levels


def _compress(suffix: str, image: np.ndarray, *options: int) -> bytes:
  written, data = cv2.imencode(suffix, image, options)
  assert written
  return data.tobytes()


def _decompress(data: bytes, mode: int) -> np.ndarray:
  # cv2.imdecode refuses an empty array by an exception of its own.
  try:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
  except cv2.error:  # a header that asks for more than OpenCV takes
    image = None
  if image is None:
    raise ValueError("an image does not decode")
  return image
