"""A restored frame as viewers get it: one message, encoded once for all.

A message is the length of a JSON header in four bytes (big-endian), the
header, and the parts that its `parts` gives the lengths of:

1. the source frame, as JPEG;
2. if something is restored, the box around it, as JPEG;
3. and the confidence of the crop, as PNG with transparency.

The page draws the second and third over the first. So pixels that were not
restored are the very same on both sides.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

from diffmvr_jax.inference.stream import RestoredFrame
from diffmvr_jax.live.states import share_known, state_of

_QUALITY = 85  # of JPEG
_SHOWN = 0.5  # share of a pixel that has to be replaced to be outlined
# From unsure to sure, RGB; told apart by the colour-blind as well.
_UNSURE, _SURE = (230, 97, 0), (26, 133, 255)
_OPACITY = 170
_OVERLAY_SIDE = 128  # pixels; the confidence has no finer detail


@dataclass(frozen=True, kw_only=True)
class Numbers:
  """What is counted while a source is restored.

  Attributes:
    fps: frames per second that come out.
    latency: milliseconds from a frame's arrival until it is ready.
    dropped: frames that were too late.
    viewers: pages that watch.
    recording: whether the restored frames are recorded.
  """

  fps: float
  latency: float
  dropped: int
  viewers: int
  recording: bool


def message_of(done: RestoredFrame, number: int, numbers: Numbers) -> bytes:
  """Encodes a frame.

  Args:
    done: the frame.
    number: counts the frames of the source.
    numbers: are shown beside the frame.
  """
  height, width = done.source.image.shape[:2]
  header: dict[str, Any] = {
    "number": number,
    "width": width,
    "height": height,
    "state": state_of(done).value,
    "known": round(share_known(done), 3),
    "fps": round(numbers.fps, 1),
    "latency": round(numbers.latency),
    "dropped": numbers.dropped,
    "viewers": numbers.viewers,
    "recording": numbers.recording,
  }
  parts = [_jpeg(done.source.image)]
  record = done.source.record
  if done.alpha is not None and record is not None:
    left, top, wide, high = cv2.boundingRect(_where(done.alpha, 0.0))
    header["patch"] = [left, top]
    header["outline"] = _outline(done.alpha)
    parts.append(_jpeg(done.image[top : top + high, left : left + wide]))
    if record.propagated_confidence is not None:
      step = max(1, len(record.mask) // _OVERLAY_SIDE)
      header["crop"] = _canvas_transform(record.crop_transform, step)
      parts.append(
        _overlay(
          record.propagated_confidence[::step, ::step],
          record.mask[::step, ::step],
        )
      )
  header["parts"] = [len(part) for part in parts]
  text = json.dumps(header, separators=(",", ":")).encode()
  return b"".join([len(text).to_bytes(4, "big"), text, *parts])


def _where(alpha: np.ndarray, above: float) -> np.ndarray:
  return (alpha > above).astype(np.uint8)


def _jpeg(image: np.ndarray) -> bytes:
  bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
  options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
  return cv2.imencode(".jpg", bgr, options)[1].tobytes()


def _outline(alpha: np.ndarray) -> list[list[int]]:
  """Polygons around what is restored; each is x, y, x, y and so on."""
  contours, _ = cv2.findContours(
    _where(alpha, _SHOWN), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
  )
  smooth = (cv2.approxPolyDP(contour, 1.0, True) for contour in contours)
  return [
    [int(value) for value in contour.ravel()]
    for contour in smooth
    if len(contour) > 2
  ]


def _overlay(confidence: np.ndarray, mask: np.ndarray) -> bytes:
  """The confidence in colours, transparent beside the mask."""
  pixels = np.where(mask > 0, _colours()[confidence], np.uint32(0))
  layers = pixels.view(np.uint8).reshape(*mask.shape, 4)
  # A search for each row's best filter would take as long again.
  options = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
  ]
  return cv2.imencode(".png", layers, options)[1].tobytes()


@cache
def _colours() -> np.ndarray:
  """The colour of each confidence, (256,) uint32 of four bytes each."""
  share = np.arange(256, dtype=np.float32)[:, None] / 255
  # OpenCV wants BGR.
  unsure, sure = (np.array(x[::-1], np.float32) for x in (_UNSURE, _SURE))
  colours = unsure + share * (sure - unsure)
  opacity = np.full_like(share, _OPACITY)
  layers = np.concatenate([colours, opacity], -1).round().astype(np.uint8)
  return layers.view(np.uint32)[:, 0]


def _canvas_transform(transform: np.ndarray, step: int) -> list[float]:
  """The map from each `step`-th pixel of the crop to the frame.

  It is what a canvas's `setTransform` takes.

  Canvases count from edges, and our transforms from the middles of pixels.
  """
  whole = np.vstack([transform, [0, 0, 1]]).astype(np.float64)
  (a, b, x), (c, d, y) = np.linalg.inv(whole)[:2]
  x, y = x + 0.5 - (a + b) / 2, y + 0.5 - (c + d) / 2
  a, b, c, d = (step * value for value in (a, b, c, d))
  return [round(float(value), 5) for value in (a, c, b, d, x, y)]
