"""Searches a frame for small faces, tile by tile.

MediaPipe's detector of faces sees a picture at 128 px, and finds a face from an
eighth of the picture's side on. So a frame is cut into tiles of two sizes,
which overlap; faces that are too large for them are found in the whole frame.
"""

import zipfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from data_prep.detections import overlap
from data_prep.detectors.mediapipe_files import model_path
from data_prep.detectors.mediapipe_graphs import Graph, import_mediapipe
from data_prep.detectors.windows import Window

# Of the shorter side of the frame: 40 px of 1080. Smaller faces, and those of
# fewer than 24 px, cannot be restored anyway.
_SMALLEST_FACE = 1 / 27
_SMALLEST_PIXELS = 24
_VISIBLE = 8  # side of a tile over the smallest face that is found in it
_LARGER = 9 / 4  # side of the coarse tiles over that of the fine ones
_SHARED = 1 / 6  # of its side that a tile shares with the next one, at least

_CANDIDATE = 0.3  # score of a tile's find that is looked at more closely
_CANDIDATES = 4  # of these, in the order of their scores
_CLOSE = 2.0  # side of the closer look over that of the find
# In 60 frames full of hands, clothes and blotches the closer look found no
# face that scored more than 0.66; that of 109 true faces 0.80 and more.
_FACE = 0.7
_CLEARLY = 0.1  # difference of scores between two turns of a head
_GLANCE = 256  # pixels of the longer side, twice what the detector sees


class TileSearch:
  """Finds faces by their boxes, strictly.

  Args:
    models: folder of the model files, see `diffmvr_jax.files`.
  """

  def __init__(self, models: str | Path | None = None):
    options = import_mediapipe().BaseOptions
    with zipfile.ZipFile(model_path("face_landmarker", models)) as archive:
      detector = archive.read("face_detector.tflite")
    self._graph = Graph(
      lambda vision: vision.FaceDetector.create_from_options(
        vision.FaceDetectorOptions(
          base_options=options(model_asset_buffer=detector),
          min_detection_confidence=_CANDIDATE,
        )
      )
    )

  def __call__(
    self, image: np.ndarray, turns: int, known: Sequence[np.ndarray] = ()
  ) -> Iterator[Window]:
    """Searches large tiles, and then small ones if more faces are asked for.

    Args:
      image: (h, w, 3) uint8.
      turns: quarter turns, counterclockwise, of the tiles.
      known: (4,) boxes of faces that are known already.

    Yields:
      A window around each other face, turned so that the head is upright.
    """
    height, width = image.shape[:2]
    for tiles in tile_windows(height, width, turns):
      finds = [
        (score, tile.box_to_frame(box))
        for tile in tiles
        for box, score in self._detect(tile.cut(image))
      ]
      yield from self._confirmed(image, finds, turns, known)

  def glance(
    self, image: np.ndarray, turns: int, known: Sequence[np.ndarray] = ()
  ) -> Iterator[Window]:
    """Looks at the whole frame at once; takes and yields the same."""
    scale = _GLANCE / max(image.shape[:2])
    small = cv2.resize(
      image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
    whole = Window(left=0, top=0, side=_GLANCE, turns=turns)
    finds = [
      (score, whole.box_to_frame(box) / scale)
      for box, score in self._detect(whole.cut(small))
    ]
    yield from self._confirmed(image, finds, turns, known)

  def upright(self, image: np.ndarray, box: np.ndarray, turns: int) -> Window:
    """Turns the window around a face to where the face scores the most.

    The detector also takes heads that are upside down for faces.

    Args:
      image: (h, w, 3) uint8.
      box: (4,) of the face, roughly.
      turns: quarter turns that are kept unless others score clearly more.
    """
    looks = [self._close_look(image, box, turns + more) for more in range(4)]
    scores = [score for _, score in looks]
    scores[0] += _CLEARLY
    return looks[int(np.argmax(scores))][0]

  def close(self) -> None:
    """Frees MediaPipe's graph."""
    self._graph.close()

  def _confirmed(
    self,
    image: np.ndarray,
    finds: list[tuple[float, np.ndarray]],
    turns: int,
    known: Sequence[np.ndarray],
  ) -> Iterator[Window]:
    """Looks more closely at the finds with the highest scores."""
    for box in _distinct(finds, known)[:_CANDIDATES]:
      if self._close_look(image, box, turns)[1] > _FACE:
        yield self.upright(image, box, turns)

  def _close_look(
    self, image: np.ndarray, box: np.ndarray, turns: int
  ) -> tuple[Window, float]:
    """The window around what is found near a box, and its score; 0: nothing."""
    window = Window.around(box, _CLOSE, turns)
    best, score = box, 0.0
    for found, its_score in self._detect(window.cut(image)):
      away = np.abs((found[:2] + found[2:]) / window.side - 1).max()
      size = _CLOSE * (found[2] - found[0]) / window.side
      if its_score > score and away < 0.5 and 0.4 < size < 2:
        best, score = window.box_to_frame(found), its_score
    return Window.around(best, _CLOSE, turns), score

  def _detect(self, image: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    for found in self._graph(image).detections:
      box = found.bounding_box
      corner = np.array([box.origin_x, box.origin_y], np.float32)
      size = np.array([box.width, box.height], np.float32)
      yield np.concatenate([corner, corner + size]), found.categories[0].score


def _distinct(
  finds: list[tuple[float, np.ndarray]], known: Sequence[np.ndarray]
) -> list[np.ndarray]:
  """The boxes that overlap with none of a higher score or known, best first."""
  boxes: list[np.ndarray] = []
  for _, box in sorted(finds, key=lambda find: -find[0]):
    if all(overlap(box, other) < 0.3 for other in (*boxes, *known)):
      boxes.append(box)
  return boxes


def tile_windows(height: int, width: int, turns: int = 0) -> list[list[Window]]:
  """Returns the coarse tiles of a frame, and the fine ones.

  Args:
    height: of the frame, in pixels.
    width: of the frame, in pixels.
    turns: of each tile.

  Example:
    >>> [(len(t), t[0].side) for t in tile_windows(1080, 1920)]
    [(6, 720), (28, 320)]
  """
  shorter = min(height, width)
  smallest = max(_SMALLEST_FACE * shorter, _SMALLEST_PIXELS)
  fine = round(_VISIBLE * smallest)
  sides = [side for side in (round(_LARGER * fine), fine) if side < shorter]
  return [
    [
      Window(left=left, top=top, side=side, turns=turns)
      for top, left in product(_starts(height, side), _starts(width, side))
    ]
    for side in sides
  ]


def _starts(length: int, side: int) -> list[int]:
  """Starts of tiles that cover a length evenly."""
  count = -(-(length - _SHARED * side) // (side - _SHARED * side))
  starts = np.linspace(0, length - side, int(count))
  return starts.round().astype(int).tolist()
