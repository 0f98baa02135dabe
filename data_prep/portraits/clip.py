"""Video clips drawn from one still portrait: the head turns, talks, blinks.

Everything is a function of the portrait's file and a seed, and the landmarks
are known exactly. The still is warped by its face mesh in 3D
(`mesh`) along curves as people move (`motion`), with eyes and a mouth behind
its lids and lips (`features`), seen by a camera that blurs, and adds noise and
compression (`camera`).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from data_prep.detectors.landmarkers import face_mesh
from data_prep.faces.landmarks import extent as face_extent
from data_prep.faces.landmarks import from_mediapipe
from data_prep.portraits.camera import Camera
from data_prep.portraits.features import Features
from data_prep.portraits.mesh import FADES, OVAL, build
from data_prep.portraits.motion import draw_motion
from data_prep.portraits.warp import grid, normals_of, place, rasterised
from diffmvr_jax.errors import InputError
from diffmvr_jax.media.pictures import decode_picture, read_bytes

FRAMES = 48
SIZE = 256
_FINER = 1.3  # pixels of the still per pixel of the frame
_MARGIN = 0.25  # of the frame, what is kept of the still around it
_VIEW = (1.8, 2.3)  # the frame's side over the face's
_MIN_FACE = 48  # pixels; below this there is nothing to see
_POINTS = 478  # of MediaPipe's mesh, with those of the irises


@dataclass(frozen=True, kw_only=True)
class Portrait:
  """A still and its face.

  Attributes:
    path: of the file.
    digest: SHA-256 of the file.
    image: (h, w, 3) uint8.
    mesh: (478, 3) MediaPipe's points; x, y and depth in pixels.
  """

  path: str
  digest: str
  image: np.ndarray
  mesh: np.ndarray


@dataclass(frozen=True)
class PortraitFrame:
  """One frame of a drawn clip.

  Attributes:
    image: (size, size, 3) uint8.
    landmarks: (21, 2) float32, in the order of
      `data_prep.faces.landmarks`.
    flow: (size, size, 2) float32: added to a pixel's place, where the still,
      seen by the resting camera, shows the same.
  """

  image: np.ndarray
  landmarks: np.ndarray
  flow: np.ndarray


def load(path: str | Path, models: str | Path | None = None) -> Portrait:
  """Reads a portrait and finds its face.

  If `NAME.mesh.npy` lies beside the picture, the face's mesh is read from
  there, and MediaPipe is not needed.

  Args:
    path: a picture.
    models: folder of MediaPipe's models, see
      `data_prep.detectors.mediapipe_files`.

  Raises:
    InputError: not a picture; no face in it; the face is too small; the mesh
      is none of this picture.
  """
  content = read_bytes(path)
  image = decode_picture(content, path)
  mesh = _stored_mesh(path, image)
  if mesh is None:
    mesh = face_mesh(image, models)
  if mesh is None:
    raise InputError(f"{path}: no face in this portrait")
  if face_extent(from_mediapipe(mesh[:, :2]))[1] < _MIN_FACE:
    raise InputError(f"{path}: its face has less than {_MIN_FACE} pixels")
  return Portrait(
    path=str(path),
    digest=hashlib.sha256(content).hexdigest(),
    image=image,
    mesh=mesh,
  )


def mesh_file(path: str | Path) -> Path:
  """Returns the file in which a portrait's mesh may lie, see `load`."""
  return Path(path).with_suffix(".mesh.npy")


def _stored_mesh(path: str | Path, image: np.ndarray) -> np.ndarray | None:
  """The mesh that lies beside a portrait, (478, 3) in pixels, if one does."""
  stored = mesh_file(path)
  if not stored.is_file():
    return None
  try:
    mesh = np.load(stored).astype(np.float64)
  except (OSError, ValueError, TypeError, EOFError) as error:
    raise InputError(f"{stored}: cannot be read ({error})") from error
  bounds = image.shape[1::-1]
  if (
    mesh.shape != (_POINTS, 3)
    or not ((mesh[:, :2] >= 0) & (mesh[:, :2] <= bounds)).all()
  ):
    raise InputError(f"{stored}: not {_POINTS} points (x, y, z) of the picture")
  return mesh


class PortraitClip:
  """A clip of one person.

  Args:
    portrait: the still.
    seed: decides motion, light and camera, together with the file.
    frames: length.
    size: side of the square frames in pixels; the face takes about half.

  Attributes:
    fps: frames per second.
  """

  def __init__(
    self,
    portrait: Portrait,
    seed: int,
    *,
    frames: int = FRAMES,
    size: int = SIZE,
  ):
    key = hashlib.sha256(f"{portrait.digest}/{seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:8], "little"))
    self.fps = Fraction(int(rng.choice([24, 25, 25, 30, 30])))
    self._size = size
    self._transform = _view(portrait, rng, size)
    scale = float(self._transform[0, 0])
    mesh = portrait.mesh.copy()
    mesh[:, :2] = mesh[:, :2] * scale + self._transform[:, 2]
    mesh[:, 2] *= scale
    _, extent = face_extent(from_mediapipe(mesh[:, :2]))
    self._model = build(mesh, extent, _fades(rng))
    to_canvas = _canvas_map(size)
    side = int(np.ceil(size * (1 + 2 * _MARGIN) * _FINER))
    self._canvas = _resampled(
      portrait.image, _compose(to_canvas, self._transform), side
    )
    self._features = Features(self._canvas, mesh, to_canvas, rng)
    self._to_canvas = to_canvas
    self._motion = draw_motion(
      rng,
      frames,
      float(self.fps),
      still_turn=_still_turn(mesh),
      openness=self._model.openness,
    )
    self._distance = rng.uniform(3.5, 7.0) * extent
    self._light = _unit(rng.normal([0, -0.4, -1], [0.6, 0.5, 0.2]))
    self._ambient = rng.uniform(1.0, 3.0)
    self._lit_still = self._lit(self._model.points)
    self._camera = Camera(
      rng,
      frames,
      float(self.fps),
      size,
      brightest=_brightest(self._canvas, mesh, to_canvas),
    )
    self._places = place(self._model, self._motion, self._distance, size)
    resting = np.zeros_like(self._motion.moves)
    self._neutral = place(
      self._model, self._motion, self._distance, size, moves=resting
    )

  def landmarks(self) -> list[np.ndarray]:
    """(21, 2) float32 of every frame, in pixels."""
    return [from_mediapipe(points[:, :2]) for points in self._places]

  def resting(self) -> tuple[np.ndarray, np.ndarray]:
    """The still as the resting camera sees it: what `flow` points into.

    Returns:
      (size, size, 3) uint8, and its landmarks, (21, 2) float32.
    """
    source = grid(self._size) * np.float32(self._to_canvas[0, 0])
    x, y = cv2.split(source + np.float32(self._to_canvas[0, 2]))
    image = cv2.remap(self._canvas, x, y, cv2.INTER_LINEAR)
    return image, from_mediapipe(self._model.points[:, :2])

  def frames(self) -> Iterator[PortraitFrame]:
    """Draws the clip; the same frames each time."""
    images, flows = [], []
    camera = self._camera
    for i in range(len(self._places)):
      image, flow, speed = self._drawn(i)
      images.append(camera.exposed(image, speed, i))
      flows.append(flow)
    developed = camera.developed(images)
    points = self.landmarks()
    for image, landmarks, flow in zip(developed, points, flows, strict=True):
      yield PortraitFrame(image, landmarks, flow)

  def _drawn(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sharp frame, its flow from the still, its speed per frame."""
    places = self._places[i]
    before, after = max(i - 1, 0), min(i + 1, len(self._places) - 1)
    speed = (self._places[after] - self._places[before])[:, :2]
    speed = speed / max(after - before, 1)
    still = self._model.points
    values = np.column_stack(
      [still[:, :2] - places[:, :2], speed, self._relit(places)]
    )
    coarse = rasterised(
      places, values, self._model.triangles, (self._size + 1) // 2
    )
    coarse = cv2.GaussianBlur(coarse, (0, 0), 0.7)
    fine = cv2.resize(coarse, (self._size, self._size))
    flow = np.ascontiguousarray(fine[..., :2])
    source = (flow + grid(self._size)) * np.float32(self._to_canvas[0, 0])
    x, y = cv2.split(source + np.float32(self._to_canvas[0, 2]))
    image = cv2.remap(
      self._canvas,
      x,
      y,
      cv2.INTER_LINEAR,
      borderMode=cv2.BORDER_REFLECT,
    )
    self._features.draw(
      image,
      places,
      self._neutral[i],
      gaze=self._motion.gaze[i],
    )
    shade = cv2.GaussianBlur(fine[..., 4], (0, 0), 0.02 * self._size)
    image = cv2.multiply(image, cv2.merge([shade] * 3), dtype=cv2.CV_32F)
    return image, flow, np.ascontiguousarray(fine[..., 2:4])

  def _relit(self, places: np.ndarray) -> np.ndarray:
    """(n,) by how much points become lighter when they turn to the light."""
    now = self._lit(places)
    return np.clip(
      1 + self._model.head * (now / self._lit_still - 1), 0.82, 1.22
    )

  def _lit(self, points: np.ndarray) -> np.ndarray:
    normals = normals_of(points, self._model.triangles)
    return self._ambient + np.clip(normals @ self._light, 0, None)


def portrait_clip(
  path: str | Path,
  seed: int,
  frames: int = FRAMES,
  size: int = SIZE,
  models: str | Path | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Draws a clip into arrays.

  Args:
    path: a portrait.
    seed: of the clip.
    frames: length.
    size: side of the frames in pixels.
    models: folder of MediaPipe's models.

  Returns:
    (frames, size, size, 3) uint8 images, (frames, 21, 2) float32 landmarks.

  Raises:
    InputError: as `load`.
  """
  clip = PortraitClip(load(path, models), seed, frames=frames, size=size)
  drawn = list(clip.frames())
  return (
    np.stack([frame.image for frame in drawn]),
    np.stack([frame.landmarks for frame in drawn]),
  )


def _view(
  portrait: Portrait, rng: np.random.Generator, size: int
) -> np.ndarray:
  """(2, 3) from the portrait's pixels to the resting frame's."""
  centre, extent = face_extent(from_mediapipe(portrait.mesh[:, :2]))
  side = extent * rng.uniform(*_VIEW)
  centre = centre + extent * rng.normal(0, [0.06, 0.05])
  bounds = np.array(portrait.image.shape[1::-1])
  # Rather within the picture, where it is large enough.
  half = np.minimum(side, bounds) / 2
  centre = np.clip(centre, half, bounds - half)
  scale = size / side
  shift = (size - 1) / 2 - scale * centre
  return np.column_stack([scale * np.eye(2), shift])


def _canvas_map(size: int) -> np.ndarray:
  """(2, 3) from the frame's pixels to the finer and larger canvas's."""
  shift = _FINER * (_MARGIN * size + 0.5) - 0.5
  return np.column_stack([_FINER * np.eye(2), [shift, shift]])


def _resampled(image: np.ndarray, transform: np.ndarray, side: int):
  scale = float(transform[0, 0])
  if scale < 0.8:
    image = cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
  return cv2.warpAffine(
    image,
    transform,
    (side, side),
    flags=cv2.INTER_CUBIC,
    borderMode=cv2.BORDER_REFLECT,
  )


def _brightest(
  canvas: np.ndarray, mesh: np.ndarray, to_canvas: np.ndarray
) -> float:
  """Of the face: what a tenth of its strongest channel exceeds."""
  oval = mesh[list(OVAL), :2] @ to_canvas[:, :2].T
  inside = np.zeros(canvas.shape[:2], np.uint8)
  hull = cv2.convexHull((oval + to_canvas[:, 2]).round().astype(np.int32))
  cv2.fillConvexPoly(inside, hull, 1)
  strongest = canvas[inside > 0].max(-1)
  return float(np.percentile(strongest, 90)) if len(strongest) else 255.0


def _still_turn(mesh: np.ndarray) -> tuple[float, float]:
  """Yaw and pitch of the still, in radians."""
  across = mesh[263] - mesh[33]
  upright = mesh[152] - mesh[10]
  yaw = float(np.arctan2(across[2], np.hypot(across[0], across[1])))
  pitch = float(np.arctan2(upright[2], np.hypot(upright[0], upright[1])))
  # A face's chin lies a little in front of its forehead's hairline or behind.
  return yaw, -(pitch - 0.15)


def _fades(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
  """Hair is long or short, and what is behind it near or far."""
  if rng.random() < 0.4:
    return FADES
  (above, _), (side, _), (below, _) = FADES
  starts = np.array([above, side, below]) + rng.uniform(-0.1, 0.35)
  starts = np.maximum(starts, 1.0)
  ends = starts * (1 + rng.uniform(0.1, 0.5))
  return tuple(zip(starts.tolist(), ends.tolist(), strict=True))


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
  linear = outer[:, :2] @ inner[:, :2]
  return np.column_stack([linear, outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def _unit(vector: np.ndarray) -> np.ndarray:
  return vector / np.linalg.norm(vector)
