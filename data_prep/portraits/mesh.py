"""The deformable face of a still portrait.

It is MediaPipe's mesh, and around it rings of points for hair, neck, shoulders
and background.

Points are (n, 3) float64: x and y in pixels of the drawn frame, z the depth
in the same unit, growing away from the camera. The first 468 are MediaPipe's;
then follow the middle of each eye and of the mouth, then the rings.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

MESH = 468
UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
# Of the subject's right and left eye, from the outer to the inner corner.
UPPER_LIDS = (
  (33, 246, 161, 160, 159, 158, 157, 173, 133),
  (263, 466, 388, 387, 386, 385, 384, 398, 362),
)
LOWER_LIDS = (
  (33, 7, 163, 144, 145, 153, 154, 155, 133),
  (263, 249, 390, 373, 374, 380, 381, 382, 362),
)
_BROWS = (
  (46, 53, 52, 65, 55, 70, 63, 105, 66, 107),
  (276, 283, 282, 295, 285, 300, 293, 334, 296, 336),
)
# Around the face, from the forehead's middle to the subject's left.
OVAL = (
  *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288),
  *(397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136),
  *(172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
_NOSE = (1, 2, 4, 5, 6, 168, 195, 197, 98, 327, 48, 278, 64, 294)
_CHEEKS = (50, 280, 117, 346, 123, 352)
# How much of the jaw's turn the outline takes part in, from the chin upwards.
_JAW_LINE = (1.0, 1.0, 0.97, 0.92, 0.83, 0.68, 0.48, 0.28, 0.12)
_LIP_TAPER = np.array([0.3, 0.55, 0.8, 0.95, 1, 1, 1, 0.95, 0.8, 0.55, 0.3])
_RINGS = (1.07, 1.16, 1.28, 1.42, 1.6, 1.82, 2.1, 2.5, 3.2, 5.5)
# Where head motion begins to fade, and where it ends: multiples of the oval.
FADES = ((1.45, 2.15), (1.18, 1.8), (1.0, 1.65))  # up, sideways, down
LOCKS = 8  # of hair around the head, each of which moves on its own

MOVES = (
  *("jaw", "close", "smile", "narrow", "lip_up", "brow_up", "frown"),
  *("blink_right", "blink_left", "squint"),
)


@dataclass(frozen=True, kw_only=True)
class FaceModel:
  """What moves, and how.

  Attributes:
    points: (n, 3) of the still.
    triangles: (t, 3) indices of the points.
    moves: (len(MOVES), n, 3) displacement by each expression at full strength.
    head: (n,) 1 where a point moves with the head, 0 where it does not.
    body: (n,) likewise for the shoulders.
    loose: (LOCKS, n) likewise for each lock of hair, earring, or collar.
    pivot: (3,) the neck's joint.
    extent: side of the face, in pixels.
    openness: height of the mouth's opening over its width.
  """

  points: np.ndarray
  triangles: np.ndarray
  moves: np.ndarray
  head: np.ndarray
  body: np.ndarray
  loose: np.ndarray
  pivot: np.ndarray
  extent: float
  openness: float


def build(
  mesh: np.ndarray,
  extent: float,
  fades: tuple[tuple[float, float], ...] = FADES,
) -> FaceModel:
  """Fits rings and expressions to a mesh.

  Args:
    mesh: (468 or 478, 3) as MediaPipe finds it, in pixels of the frame.
    extent: side of the face, in pixels.
    fades: where head motion begins to fade, and where it ends, upwards,
      sideways and downwards; in multiples of the face's oval.
  """
  mesh = np.asarray(mesh, np.float64)[:MESH]
  holes = np.stack([mesh[list(rim)].mean(0) for rim in rims()])
  rings, scales, directions = _rings(mesh)
  points = np.concatenate([mesh, holes, rings])
  down = _axes(mesh)[1][:2]
  down = down / np.linalg.norm(down)
  lowness = directions @ down
  head = _head_weight(scales, lowness, fades)
  below = np.clip((scales - 1.1) / 0.9, 0, 1) * np.clip(1.5 * lowness, 0, 1)
  solid = np.ones(MESH + len(holes))
  moves = np.stack([_extended(mesh, move) for move in _moves(mesh)])
  width = np.linalg.norm(mesh[78] - mesh[308])
  return FaceModel(
    points=points,
    triangles=triangles(),
    moves=moves,
    head=np.concatenate([solid, head]),
    body=np.concatenate([0 * solid, below]),
    loose=np.column_stack(
      [np.zeros((LOCKS, len(solid))), _looseness(scales, directions)]
    ),
    pivot=_pivot(mesh, extent),
    extent=extent,
    openness=float(np.linalg.norm(mesh[13] - mesh[14]) / width),
  )


def rims() -> tuple[tuple[int, ...], ...]:
  """Points around the right eye, the left eye and the mouth's opening."""
  return tuple(
    (*upper, *lower[-2:0:-1])
    for upper, lower in zip(
      (*UPPER_LIDS, UPPER_LIP), (*LOWER_LIDS, LOWER_LIP), strict=True
    )
  )


@cache
def triangles() -> np.ndarray:
  """(t, 3) of face, eyes, mouth, and rings."""
  found = [_mesh_triangles()]
  for i, rim in enumerate(rims()):
    middle = MESH + i
    following = (*rim[1:], rim[0])
    found.append(
      np.array([(a, b, middle) for a, b in zip(rim, following, strict=True)])
    )
  count, first = len(OVAL), MESH + 3
  inner = np.array(OVAL)
  for ring in range(len(_RINGS)):
    outer = first + ring * count + np.arange(count)
    a, b, c, d = inner, np.roll(inner, -1), outer, np.roll(outer, -1)
    found += [np.stack([a, b, d], 1), np.stack([a, d, c], 1)]
    inner = outer
  return np.concatenate(found)


@cache
def _mesh_triangles() -> np.ndarray:
  """(852, 3) of the face; eyes and mouth are holes.

  They are those of MediaPipe's `FACE_LANDMARKS_TESSELATION`.
  """
  return np.load(Path(__file__).with_name("triangles.npy")).astype(int)


def _rings(mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Points of all rings, their multiple of the oval, their direction."""
  oval = mesh[list(OVAL)]
  centre = oval[:, :2].mean(0)
  away = oval[:, :2] - centre
  # Ears and hair end about as deep as the outline's sides.
  back = np.percentile(oval[:, 2], 80)
  rings = []
  for scale in _RINGS:
    depth = oval[:, 2] + min((scale - 1) / 0.28, 1) * (back - oval[:, 2])
    rings.append(np.column_stack([centre + scale * away, depth]))
  unit = away / np.linalg.norm(away, axis=1, keepdims=True)
  scales = np.repeat(_RINGS, len(oval))
  return np.concatenate(rings), scales, np.tile(unit, (len(_RINGS), 1))


def _head_weight(
  scales: np.ndarray,
  lowness: np.ndarray,
  fades: tuple[tuple[float, float], ...],
) -> np.ndarray:
  up, down = np.clip(-lowness, 0, 1)[:, None], np.clip(lowness, 0, 1)[:, None]
  above, side, below = np.array(fades)
  fade = side + up * (above - side) + down * (below - side)
  share = np.clip((scales - fade[:, 0]) / (fade[:, 1] - fade[:, 0]), 0, 1)
  return 1 - share * share * (3 - 2 * share)


def _looseness(scales: np.ndarray, directions: np.ndarray) -> np.ndarray:
  """(LOCKS, n): smooth around the head, from the face's outline outwards."""
  angle = np.arctan2(directions[:, 1], directions[:, 0])
  middles = 2 * np.pi * np.arange(LOCKS)[:, None] / LOCKS
  apart = np.abs((angle - middles + np.pi) % (2 * np.pi) - np.pi)
  around = np.cos(np.clip(apart * LOCKS / 4, 0, np.pi / 2)) ** 2
  outwards = np.clip((scales - 1.05) / 0.25, 0, 1)
  return around * outwards * np.clip((3.0 - scales) / 1.0, 0, 1)


def _pivot(mesh: np.ndarray, extent: float) -> np.ndarray:
  """Between the ears, below them, where the head nods."""
  _, down, back = _axes(mesh)
  ears = (mesh[234] + mesh[454]) / 2
  return ears + 0.28 * extent * down + 0.02 * extent * back


def _axes(mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Unit vectors to the subject's left, down, and back."""
  left = _unit(mesh[263] - mesh[33])
  down = mesh[152] - mesh[10]
  down = _unit(down - (down @ left) * left)
  return left, down, np.cross(left, down)


def _moves(mesh: np.ndarray) -> list[np.ndarray]:
  """(468, 3) displacements, in the order of `MOVES`."""
  left, down, _ = _axes(mesh)
  lips = (*UPPER_LIP, *LOWER_LIP[1:-1], *_OUTER_UPPER, *_OUTER_LOWER[1:-1])
  mouth = float(np.linalg.norm(mesh[61] - mesh[291]))
  lids = tuple(i for rim in rims()[:2] for i in rim)
  upper_face = (*lids, *_NOSE, *_CHEEKS, *_BROWS[0], *_BROWS[1])
  return [
    _jaw(mesh, left, upper_face),
    _closing(mesh, upper_face),
    _corners(mesh, mouth * np.array([0.1, -0.11, 0.06]), lips, lids),
    _corners(mesh, mouth * np.array([-0.14, 0.0, -0.06]), lips, lids),
    _lip_up(-0.07 * mouth * down, lids),
    _brows(mesh, -0.2 * mouth * down, (1.0,) * 5, lids),
    _brows(mesh, 0.1 * mouth * down, (0.0, 0.2, 0.5, 0.9, 1.0), lids)
    + _frown(mesh, 0.06 * mouth * left, lids),
    _blink(mesh, 0, 1.0),
    _blink(mesh, 1, 1.0),
    _squint(mesh),
  ]


def _jaw(
  mesh: np.ndarray, left: np.ndarray, upper_face: tuple[int, ...]
) -> np.ndarray:
  """The lower jaw, turned by one radian about the line between the ears."""
  weights = dict.fromkeys((*upper_face, *UPPER_LIP, *_OUTER_UPPER), 0.0)
  weights |= dict.fromkeys(OVAL, 0.0)
  chin = OVAL.index(152)
  for step, weight in enumerate(_JAW_LINE):
    weights[OVAL[chin + step]] = weights[OVAL[chin - step]] = weight
  for row in (LOWER_LIP, _OUTER_LOWER):
    weights |= dict(zip(row, _LIP_TAPER.tolist(), strict=True))
  weight = _spread({i: np.array([w]) for i, w in weights.items()})
  hinge = (mesh[234] + mesh[454]) / 2
  return weight * np.cross(left, mesh - hinge)


def _closing(mesh: np.ndarray, upper_face: tuple[int, ...]) -> np.ndarray:
  """Lips that are apart meet, nearer to the upper one."""
  move = {i: np.zeros(3) for i in (*upper_face, *OVAL)}
  for k in range(len(UPPER_LIP)):
    gap = mesh[LOWER_LIP[k]] - mesh[UPPER_LIP[k]]
    move[UPPER_LIP[k]] = 0.35 * gap
    move[LOWER_LIP[k]] = -0.65 * gap if 0 < k < 10 else 0 * gap
    move[_OUTER_UPPER[k]] = 0.3 * gap
    move[_OUTER_LOWER[k]] = -0.55 * gap
  move[152] = -0.35 * (mesh[14] - mesh[13])
  for i in (148, 377, 176, 400, 149, 378):
    move.pop(i)
  return _spread(move)


def _corners(
  mesh: np.ndarray,
  shift: np.ndarray,
  lips: tuple[int, ...],
  lids: tuple[int, ...],
) -> np.ndarray:
  """Mouth corners outward, down and back by `shift`; lips follow."""
  left, down, back = _axes(mesh)
  move = {i: np.zeros(3) for i in (*lids, *_NOSE, *OVAL)}
  centre = (mesh[0] + mesh[17]) / 2
  half = 0.5 * float(np.linalg.norm(mesh[61] - mesh[291]))
  for i in lips:
    x = float(np.clip((mesh[i] - centre) @ left / half, -1, 1))
    move[i] = (
      x * shift[0] * left + x * x * (shift[1] * down) + abs(x) * shift[2] * back
    )
  return _spread(move)


def _lip_up(shift: np.ndarray, lids: tuple[int, ...]) -> np.ndarray:
  move = {i: np.zeros(3) for i in (*lids, 1, 4, 5, 6, *OVAL)}
  move |= {i: np.zeros(3) for i in (*LOWER_LIP, *_OUTER_LOWER)}
  for row in (UPPER_LIP, _OUTER_UPPER):
    for i, taper in zip(row, _LIP_TAPER.tolist(), strict=True):
      move[i] = taper * shift if taper > 0.5 else np.zeros(3)
  return _spread(move)


def _brows(
  mesh: np.ndarray,
  shift: np.ndarray,
  taper: tuple[float, ...],
  lids: tuple[int, ...],
) -> np.ndarray:
  """Both brows, from outside to inside by `taper`."""
  move = {i: np.zeros(3) for i in (*lids, *_NOSE[:5], *_CHEEKS, *OVAL)}
  for i in (10, 338, 109, 297, 67):
    move[i] = 0.25 * shift * max(taper[0], 0)
  for side in _BROWS:
    for i, weight in zip(side, (*taper, *taper), strict=True):
      move[i] = weight * shift
  return _spread(move)


def _frown(
  mesh: np.ndarray, shift: np.ndarray, lids: tuple[int, ...]
) -> np.ndarray:
  """Inner ends of the brows, towards each other."""
  move = {i: np.zeros(3) for i in (*lids, *_CHEEKS, *OVAL, 168, 6)}
  for sign, side in zip((1, -1), _BROWS, strict=True):
    for i, weight in zip(side, (0, 0.1, 0.4, 0.8, 1) * 2, strict=True):
      move[i] = sign * weight * shift
  return _spread(move)


def _blink(mesh: np.ndarray, eye: int, strength: float) -> np.ndarray:
  """The upper lid comes down to the lower one, which rises a little."""
  upper, lower = UPPER_LIDS[eye], LOWER_LIDS[eye]
  move = {i: np.zeros(3) for i in (*_BROWS[eye], *OVAL, *_NOSE, *_CHEEKS)}
  for a, b in zip(upper[1:-1], lower[1:-1], strict=True):
    gap = strength * (mesh[b] - mesh[a])
    move[a], move[b] = 0.9 * gap, -0.1 * gap
  move[upper[0]] = move[upper[-1]] = np.zeros(3)
  return _spread(move)


def _squint(mesh: np.ndarray) -> np.ndarray:
  """Lower lids rise halfway."""
  move = {i: np.zeros(3) for i in (*OVAL, *_NOSE, *_BROWS[0], *_BROWS[1])}
  for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
    for a, b in zip(upper[1:-1], lower[1:-1], strict=True):
      gap = mesh[b] - mesh[a]
      move[a], move[b] = 0.1 * gap, -0.4 * gap
    move[upper[0]] = move[upper[-1]] = np.zeros(3)
  return _spread(move)


def _spread(known: dict[int, np.ndarray]) -> np.ndarray:
  """Spreads values at some points over the mesh, as smoothly as can be.

  Args:
    known: index to value, (k,).

  Returns:
    (468, k).
  """
  places = tuple(known)
  values = np.stack([known[i] for i in places])
  spread = np.zeros((MESH, values.shape[1]))
  spread[list(places)] = values
  others, operator = _spreading(places)
  spread[others] = operator @ values
  return spread


@cache
def _spreading(places: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
  """The other points, and the matrix that gives their harmonic values."""
  adjacent = np.zeros((MESH, MESH))
  faces = _mesh_triangles()
  for a, b in ((0, 1), (1, 2), (2, 0)):
    adjacent[faces[:, a], faces[:, b]] = adjacent[faces[:, b], faces[:, a]] = 1
  laplace = np.diag(adjacent.sum(1)) - adjacent
  others = np.setdiff1d(np.arange(MESH), places)
  inner = laplace[np.ix_(others, others)]
  outer = laplace[np.ix_(others, np.array(places))]
  return others, -np.linalg.solve(inner, outer)


def _extended(mesh: np.ndarray, move: np.ndarray) -> np.ndarray:
  """Adds holes and rings, which follow the outline less and less."""
  holes = np.stack([move[list(rim)].mean(0) for rim in rims()])
  outline = move[list(OVAL)]
  rings = [
    outline * max(0.0, 1 - (scale - 1) / 0.45) ** 1.5 for scale in _RINGS
  ]
  return np.concatenate([move, holes, *rings])


def _unit(vector: np.ndarray) -> np.ndarray:
  return vector / np.linalg.norm(vector)
