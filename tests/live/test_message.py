"""What viewers are sent of a frame."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from diffmvr_jax.data.record_codec import blank_record
from diffmvr_jax.inference.stream import RestoredFrame, SourceFrame
from diffmvr_jax.live.message import Numbers, message_of

_NUMBERS = Numbers(
  fps=25.0, latency=40.0, dropped=0, viewers=1, recording=False
)


@pytest.mark.parametrize("size", [128, 256])
def test_the_confidence_lies_where_the_mask_lies_in_the_frame(size):
  # The crop shows the frame half as large again, and lies in its middle.
  transform = np.array([[1.5, 0, -30], [0, 1.5, -45]], np.float32)
  record = dataclasses.replace(blank_record(size), crop_transform=transform)
  frame = np.zeros((240, 320, 3), np.uint8)
  done = RestoredFrame(
    source=SourceFrame(image=frame, pts=0, record=record),
    image=frame,
    alpha=np.ones((240, 320), np.float32),
  )
  header, parts = _parsed(message_of(done, 0, _NUMBERS))
  layer = cv2.imdecode(np.frombuffer(parts[2], np.uint8), cv2.IMREAD_UNCHANGED)
  assert layer.shape == (128, 128, 4)
  # The edges of what is not transparent, as a canvas would draw them.
  left, _, width, _ = cv2.boundingRect((layer[..., 3] > 0).astype(np.uint8))
  a, _, _, _, x, _ = header["crop"]
  edges = a * np.array([left, left + width]) + x
  mask = np.array([size // 4, size // 2])  # edges in the crop
  # Points are middles of pixels: an edge is half a pixel before the middle.
  expected = (mask - 0.5 + 30) / 1.5 + 0.5
  np.testing.assert_allclose(edges, expected, atol=1e-3)


def _parsed(message: bytes) -> tuple[dict, list[bytes]]:
  length = int.from_bytes(message[:4], "big")
  header, rest = json.loads(message[4 : 4 + length]), message[4 + length :]
  parts = []
  for size in header["parts"]:
    parts.append(rest[:size])
    rest = rest[size:]
  assert not rest
  return header, parts
