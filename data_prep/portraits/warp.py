"""Where a face's points go in each frame, and how pixels follow them."""

import cv2
import numpy as np

from data_prep.portraits.mesh import FaceModel
from data_prep.portraits.motion import Motion

_SUBPIXELS = 4  # bits


def place(
  model: FaceModel,
  motion: Motion,
  distance: float,
  size: int,
  moves: np.ndarray | None = None,
) -> np.ndarray:
  """(f, n, 3) places of all points in all frames."""
  moves = motion.moves if moves is None else moves
  still, extent = model.points, model.extent
  points = still + np.tensordot(moves, model.moves, 1)
  away = points - model.pivot
  turned = away @ _rotations(motion.turn).transpose(0, 2, 1)
  # The still has its own perspective; what comes nearer grows.
  nearer = (distance + away[..., 2:]) / (distance + turned[..., 2:])
  turned[..., :2] *= nearer * motion.nearer[:, None, None]
  moved = turned + model.pivot
  moved[..., :2] += extent * motion.shift[:, None]
  head, body = model.head[:, None], model.body[:, None]
  resting = still + 0 * moved
  resting[..., :2] += extent * body * motion.body[:, None]
  placed = resting + head * (moved - resting)
  swinging = np.tensordot(motion.loose, model.loose, ((1,), (0,)))
  placed[..., :2] += extent * swinging.transpose(0, 2, 1)
  middle = (size - 1) / 2
  placed[..., :2] = (
    middle
    + motion.camera[:, None, 2:] * (placed[..., :2] - middle)
    + extent * motion.camera[:, None, :2]
  )
  return placed


def _rotations(turn: np.ndarray) -> np.ndarray:
  """(f, 3, 3) of yaw, then pitch, then roll."""
  (ca, cb, cc), (sa, sb, sc) = np.cos(turn).T, np.sin(turn).T
  one, nil = np.ones_like(ca), np.zeros_like(ca)
  yaw = np.array([[ca, nil, -sa], [nil, one, nil], [sa, nil, ca]])
  pitch = np.array([[one, nil, nil], [nil, cb, -sb], [nil, sb, cb]])
  roll = np.array([[cc, -sc, nil], [sc, cc, nil], [nil, nil, one]])
  yaw, pitch, roll = (m.transpose(2, 0, 1) for m in (yaw, pitch, roll))
  return roll @ pitch @ yaw


def rasterised(
  places: np.ndarray, values: np.ndarray, triangles: np.ndarray, side: int
) -> np.ndarray:
  """Interpolates values over the triangles, the nearest one on top.

  Args:
    places: (n, 3) in pixels of a frame twice as fine.
    values: (n, k).
    triangles: (t, 3).
    side: of the result.

  Returns:
    (side, side, k) float32.
  """
  corners = (places[triangles][..., :2] - 0.5) / 2
  first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
  area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
  sign = np.sign(np.median(area))
  low, high = corners.min(1), corners.max(1)
  seen = (sign * area > 1e-3) & (high > -1).all(1) & (low < side).all(1)
  triangles, corners, area = triangles[seen], corners[seen], area[seen]
  first, second = first[seen], second[seen]
  known = values[triangles]
  # Slopes of each value along x and y within each triangle.
  along, across = known[:, 1] - known[:, 0], known[:, 2] - known[:, 0]
  area = area[:, None]
  slope_x = (along * second[:, 1:] - across * first[:, 1:]) / area
  slope_y = (across * first[:, :1] - along * second[:, :1]) / area
  start = (
    known[:, 0] - slope_x * corners[:, 0, :1] - slope_y * corners[:, 0, 1:]
  )
  # What is far is drawn first.
  depth = places[triangles][..., 2].mean(1)
  order = np.argsort(-depth, kind="stable")
  numbers = np.full((side, side), -1, np.int16)
  outlines = np.round(corners * (1 << _SUBPIXELS)).astype(np.int32)
  for k in order.tolist():
    cv2.fillConvexPoly(numbers, outlines[k], k, cv2.LINE_8, _SUBPIXELS)
  while (numbers < 0).any():  # slivers between triangles
    numbers = np.where(numbers < 0, cv2.dilate(numbers, _AROUND), numbers)
  x, y = np.meshgrid(np.arange(side), np.arange(side))
  parts = [start, slope_x, slope_y, known.min(1), known.max(1)]
  parts = np.concatenate(parts, axis=1).astype(np.float32)
  start, slope_x, slope_y, least, most = np.split(
    np.take(parts, numbers, axis=0), 5, axis=-1
  )
  x, y = x[..., None].astype(np.float32), y[..., None].astype(np.float32)
  result = start + slope_x * x + slope_y * y
  # A triangle seen from its side ends within a pixel, and so do its values.
  return np.minimum(np.maximum(result, least), most)


_AROUND = np.ones((3, 3), np.uint8)


def normals_of(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
  """(n, 3) unit normals towards the camera."""
  a, b, c = (points[triangles[:, k]] for k in range(3))
  across = np.cross(b - a, c - a)
  # All triangles turn the same way round; the camera looks along +z.
  across *= -np.sign(np.median(across[:, 2]))
  normals = np.zeros_like(points)
  for k in range(3):
    np.add.at(normals, triangles[:, k], across)
  return normals / np.maximum(np.linalg.norm(normals, axis=1)[:, None], 1e-9)


def grid(size: int) -> np.ndarray:
  """(size, size, 2) float32 x and y of every pixel."""
  x, y = np.meshgrid(np.arange(size), np.arange(size))
  return np.dstack([x, y]).astype(np.float32)
