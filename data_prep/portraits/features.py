"""Eyes and mouth of a portrait's clip: what lies behind lids and lips.

A warped picture squeezes an eye that closes. Here the eyeball stays as it is
and the lids cover it; an opening mouth shows teeth, tongue and dark.
"""

import cv2
import numpy as np

from data_prep.portraits import mesh as face_mesh

_BITS = 4  # of polygons' subpixels


class Features:
  """Eyes and mouth, cut from a still, to be drawn into its frames.

  Args:
    canvas: (s, s, 3) uint8 still.
    mesh: (478, 3) of the still, in pixels of the frame.
    to_canvas: (2, 3) from the frame's pixels to the canvas's.
    rng: decides how teeth look that the still does not show.
  """

  def __init__(
    self,
    canvas: np.ndarray,
    mesh: np.ndarray,
    to_canvas: np.ndarray,
    rng: np.random.Generator,
  ):
    self._rims = [list(rim) for rim in face_mesh.rims()]
    self._still = mesh[:, :2] @ to_canvas[:, :2].T + to_canvas[:, 2]
    self._scale = float(to_canvas[0, 0])
    self._widths = [
      float(np.linalg.norm(self._still[rim[0]] - self._still[rim[8]]))
      for rim in self._rims[:2]
    ]
    self._eyes = canvas.copy()
    for rim in self._rims[:2]:
      _continue_outward(self._eyes, self._still[rim])
    self._lash_colours = [
      0.75 * _dark(canvas, self._still[list(upper)])
      for upper in face_mesh.UPPER_LIDS
    ]
    self._mouth = Mouth(canvas, self._still, rng)

  def draw(
    self,
    image: np.ndarray,
    places: np.ndarray,
    neutral: np.ndarray,
    *,
    gaze: np.ndarray,
  ) -> None:
    """Draws into a frame.

    Args:
      image: (h, w, 3) uint8, changed.
      places: (n, 3) of the mesh in this frame, in pixels.
      neutral: (n, 3) as the head is turned, with the still's expression.
      gaze: (2,) shift of the irises, in eye widths.
    """
    for eye in range(2):
      rim = self._rims[eye]
      to_still = _affine(neutral[rim, :2], self._still[rim])
      to_still[:, 2] -= gaze * self._widths[eye]
      _fill(image, places[rim, :2], [(self._eyes, to_still)])
      self._lashes(image, places, neutral, eye)
    rim = self._rims[2]
    strength = self._mouth.strength(places)
    if strength <= 0:
      return
    upper = [*face_mesh.UPPER_LIP, *_ABOVE_MOUTH]
    lower = list(face_mesh.LOWER_LIP)
    layers = [
      (self._mouth.tongue, _affine(places[lower, :2], self._still[lower])),
      (self._mouth.teeth, _affine(neutral[upper, :2], self._still[upper])),
    ]
    _fill(
      image,
      places[rim, :2],
      layers,
      ground=self._mouth.dark,
      opacity=strength,
      shaded=True,
    )

  def _lashes(
    self, image: np.ndarray, places: np.ndarray, neutral: np.ndarray, eye: int
  ) -> None:
    """Draws the line in which closed lids meet."""
    upper = list(face_mesh.UPPER_LIDS[eye])
    lower = list(face_mesh.LOWER_LIDS[eye])
    gap = np.linalg.norm((places[upper] - places[lower])[2:-2, :2])
    usual = np.linalg.norm((neutral[upper] - neutral[lower])[2:-2, :2])
    closed = float(np.clip(1.6 - 2.6 * gap / max(usual, 1e-6), 0, 1))
    if closed <= 0:
      return
    line = (places[upper, :2] + places[lower, :2]) / 2
    width = float(np.linalg.norm(line[0] - line[-1]))
    low = np.clip(np.floor(line.min(0)).astype(int) - 5, 0, None)
    high = np.ceil(line.max(0)).astype(int) + 6
    region = image[low[1] : high[1], low[0] : high[0]]
    if min(region.shape[:2]) < 3:
      return
    alpha = np.zeros(region.shape[:2], np.uint8)
    points = np.round((line[1:-1] - low) * (1 << _BITS)).astype(np.int32)
    thickness = max(1, round(0.075 * width))
    cv2.polylines(alpha, [points], False, 255, thickness, cv2.LINE_AA, _BITS)
    soft = cv2.GaussianBlur(alpha, (0, 0), max(0.5, 0.02 * width))
    share = (0.9 * closed / 255) * soft.astype(np.float32)[..., None]
    mixed = region + share * (self._lash_colours[eye] - region)
    region[:] = mixed.round()


_ABOVE_MOUTH = (1, 2, 98, 327, 61, 291, 0)


class Mouth:
  """What is seen between the lips, on the still's canvas.

  Attributes:
    teeth: (s, s, 4) uint8 RGBA, move with the skull.
    tongue: (s, s, 4) uint8 RGBA, moves with the lower lip.
    dark: (3,) colour of what is deeper.
  """

  def __init__(
    self, canvas: np.ndarray, still: np.ndarray, rng: np.random.Generator
  ):
    rim = still[list(face_mesh.rims()[2])]
    self._width = float(np.linalg.norm(still[78] - still[308]))
    gap = float(np.linalg.norm(still[13] - still[14]))
    self._open = gap / self._width
    skin = _median(canvas, still[[50, 205, 280, 425]])
    light = float(skin.max()) / 255
    self.dark = np.array([46.0, 20.0, 18.0]) * (0.35 + 0.65 * light)
    self._seen = self._open > 0.06
    white = _white(canvas, still)
    if self._seen:
      self.teeth = self._seen_teeth(canvas, rim)
    else:
      self.teeth = self._drawn_teeth(canvas.shape[0], still, white, rng)
    self.tongue = self._drawn_tongue(canvas.shape[0], still, light)

  def strength(self, places: np.ndarray) -> float:
    """0 while the lips are as closed as in the still, 1 when they open."""
    if self._seen:
      return 1.0
    width = np.linalg.norm(places[78, :2] - places[308, :2])
    gap = np.linalg.norm(places[13, :2] - places[14, :2])
    opening = gap / max(width, 1e-6) - self._open
    return float(np.clip(opening / 0.05, 0, 1))

  def _seen_teeth(self, canvas: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """The still's open mouth, continued a little under the lips."""
    extended = canvas.copy()
    _continue_outward(extended, rim)
    alpha = np.zeros(canvas.shape[:2], np.uint8)
    _polygon(alpha, rim)
    # Upward under the lip, not downward, where it is dark.
    reach = max(2, round(0.08 * self._width))
    tall = np.zeros((2 * reach + 1, 3), np.uint8)
    tall[reach:] = 1
    alpha = cv2.dilate(alpha, tall)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.012 * self._width + 0.4)
    return np.dstack([extended, alpha])

  def _drawn_teeth(
    self,
    side: int,
    still: np.ndarray,
    white: np.ndarray,
    rng: np.random.Generator,
  ) -> np.ndarray:
    """Upper teeth in an arc behind a closed mouth."""
    x, y = self._axes(side, still)
    low = rng.uniform(0.03, 0.11)
    edge = low - 0.35 * x * x + 0.008 * np.cos(2 * np.pi * x / 0.13)
    alpha = _soft(edge - y, 0.02) * _soft(0.4 - np.abs(x), 0.06)
    # Incisors are broader than what follows.
    gaps = np.array([0, 0.135, 0.235, 0.33])
    distance = np.abs(np.abs(x)[..., None] - gaps).min(-1)
    shade = 1 - 0.17 * np.exp(-((distance / 0.012) ** 2))
    shade *= 1 - 1.6 * x * x
    shade *= 0.78 + 0.22 * _soft(y + 0.03, 0.06)
    colour = white * np.clip(shade, 0.2, 1)[..., None]
    return np.dstack([colour, 255 * alpha]).astype(np.uint8)

  def _drawn_tongue(
    self, side: int, still: np.ndarray, light: float
  ) -> np.ndarray:
    x, y = self._axes(side, still, of=14)
    top = -0.07 + 0.5 * x * x
    alpha = 0.8 * _soft(y - top, 0.06) * _soft(0.36 - np.abs(x), 0.1)
    shade = 0.75 + 0.25 * np.exp(-((x / 0.2) ** 2))
    colour = np.array([150.0, 78.0, 74.0]) * (0.3 + 0.7 * light)
    colour = colour * shade[..., None]
    return np.dstack([colour, 255 * alpha]).astype(np.uint8)

  def _axes(
    self, side: int, still: np.ndarray, of: int = 13
  ) -> tuple[np.ndarray, np.ndarray]:
    """Along and below the lips, in mouth widths, of every pixel."""
    across = (still[308] - still[78]) / self._width
    down = np.array([-across[1], across[0]])
    centre = still[of]
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1) - centre
    return grid @ across / self._width, grid @ down / self._width


def _fill(
  image: np.ndarray,
  outline: np.ndarray,
  layers: list[tuple[np.ndarray, np.ndarray]],
  *,
  ground: np.ndarray | None = None,
  opacity: float = 1.0,
  shaded: bool = False,
) -> None:
  """Fills a polygon of the image with layers; the last one is on top."""
  low = np.floor(outline.min(0)).astype(int) - 3
  high = np.ceil(outline.max(0)).astype(int) + 4
  low = np.clip(low, 0, image.shape[1::-1])
  high = np.clip(high, 0, image.shape[1::-1])
  width, height = (high - low).tolist()
  if width < 3 or height < 3:
    return
  alpha = np.zeros((height, width), np.uint8)
  _polygon(alpha, outline - low)
  cover = cv2.GaussianBlur(alpha, (0, 0), 0.5).astype(np.float32) / 255
  region = image[low[1] : high[1], low[0] : high[0]]
  filling = np.zeros(region.shape, np.float32)
  if ground is not None:
    filling += ground.astype(np.float32)
  for picture, to_still in layers:
    local = to_still.copy()
    local[:, 2] += to_still[:, :2] @ low
    placed = cv2.warpAffine(
      picture,
      local,
      (width, height),
      flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
      borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)
    if placed.shape[2] == 4:
      share = placed[..., 3:] / 255
      filling += share * (placed[..., :3] - filling)
    else:
      filling = placed
  if shaded:
    # Lips throw their shadow on what lies behind them.
    depth = cv2.GaussianBlur(cover, (0, 0), max(0.6, 0.045 * width))
    filling *= np.clip(0.6 + 0.65 * depth, 0, 1)[..., None]
  share = (opacity * cover)[..., None]
  mixed = region + share * (filling - region)
  image[low[1] : high[1], low[0] : high[0]] = mixed.round()


def _continue_outward(canvas: np.ndarray, rim: np.ndarray) -> None:
  """Replaces what surrounds a polygon by the continuation of its inside."""
  width = float(np.ptp(rim[:, 0]))
  reach = max(3, round(0.3 * width))
  low = np.clip(np.floor(rim.min(0)).astype(int) - reach, 0, None)
  high = np.ceil(rim.max(0)).astype(int) + reach + 1
  region = canvas[low[1] : high[1], low[0] : high[0]]
  if min(region.shape[:2]) < 3:
    return
  inside = np.zeros(region.shape[:2], np.uint8)
  _polygon(inside, rim - low)
  unknown = (inside < 128).astype(np.uint8)
  if unknown.all():
    return
  filled = cv2.inpaint(region, unknown, 3, cv2.INPAINT_TELEA)
  region[:] = np.where(inside[..., None] < 128, filled, region)


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
  """(2, 3) map that takes points to others with the least squares."""
  known = np.column_stack([source, np.ones(len(source))])
  # A narrow eye says little about its height: rather a similarity.
  return np.linalg.lstsq(known, target, rcond=None)[0].T


def _polygon(image: np.ndarray, outline: np.ndarray) -> None:
  points = np.round(outline * (1 << _BITS)).astype(np.int32)
  cv2.fillPoly(image, [points], 255, cv2.LINE_AA, _BITS)


def _median(canvas: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Median colour around some points."""
  bounds = np.array(canvas.shape[1::-1]) - 3
  places = np.clip(points.round().astype(int), 2, bounds)
  patches = [
    canvas[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3) for x, y in places
  ]
  return np.median(np.concatenate(patches), axis=0)


def _dark(canvas: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Colour of the darker half of what lies along some points."""
  bounds = np.array(canvas.shape[1::-1]) - 1
  x, y = np.clip(points.round().astype(int), 0, bounds).T
  colours = canvas[y, x].astype(np.float32)
  return colours[np.argsort(colours.sum(1))[: len(colours) // 2]].mean(0)


def _white(canvas: np.ndarray, still: np.ndarray) -> np.ndarray:
  """Colour of teeth in the light in which the eyes are."""
  inside = np.zeros(canvas.shape[:2], np.uint8)
  for rim in face_mesh.rims()[:2]:
    _polygon(inside, still[list(rim)])
  eyes = canvas[inside > 200].astype(np.float32)
  if len(eyes) < 8:
    return np.array([190.0, 180.0, 165.0])
  bright = eyes[np.argsort(eyes.sum(1))[-max(3, len(eyes) // 10) :]].mean(0)
  grey = 0.6 * bright + 0.4 * bright.mean()
  return np.clip(1.02 * grey, 90, 235) * [1.0, 0.96, 0.88]


def _soft(values: np.ndarray, width: float) -> np.ndarray:
  """0 below −width, 1 above width."""
  share = np.clip(0.5 + 0.5 * values / width, 0, 1)
  return share * share * (3 - 2 * share)
