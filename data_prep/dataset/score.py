"""How good a detector is on labelled pictures, by the paper's two figures.

Appendix D gives "masking accuracy" and average IoU, 97.5 % and 0.979 for boxes
and 96.4 % and 0.930 for segments, and defines neither. A mean IoU that is
higher than the accuracy cannot count what is missed as 0. So the accuracy is
taken as the share of pictures that are judged right, and the mean IoU is given
over these alone as well.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from data_prep.dataset.labels import (
  FACE,
  OCCLUDER,
  LabelledPicture,
  picture_paths,
  read_labelled,
)
from data_prep.detections import (
  Detector,
  bounding_box,
  box_mask,
  covered,
  largest,
  overlap,
)
from data_prep.detectors.by_name import (
  open_face_detector,
  open_occluder_detector,
)
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.errors import InputError

RIGHT = 0.5  # IoU from which on an object counts as found
_HEAD = (
  *("", "pictures", "accuracy", "mean IoU", "mean IoU of those right"),
  *("pixels right", "missed", "false"),
)


@dataclass
class Scores:
  """What is counted over pictures.

  Attributes:
    overlaps: IoU in each picture in which the object is labelled; 0 if it is
      not found.
    false: number of pictures in which it is found, but not labelled.
    blank: number of pictures in which it is neither found nor labelled.
    pixels: share of the pixels that a mask has right, in each picture.
  """

  overlaps: list[float] = field(default_factory=list)
  false: int = 0
  blank: int = 0
  pixels: list[float] = field(default_factory=list)

  def add(self, iou: float | None, *, found: bool) -> None:
    """Counts a picture; the IoU is None if the object is not labelled."""
    if iou is not None:
      self.overlaps.append(iou)
    elif found:
      self.false += 1
    else:
      self.blank += 1

  def row(self) -> list[str]:
    """The cells of `table`, all but the first."""
    right = [iou for iou in self.overlaps if iou >= RIGHT]
    pictures = len(self.overlaps) + self.false + self.blank
    return [
      str(pictures),
      f"{(len(right) + self.blank) / pictures:.1%}",
      f"{np.mean(self.overlaps):.3f}" if self.overlaps else "",
      f"{np.mean(right):.3f}" if right else "",
      f"{np.mean(self.pixels):.1%}" if self.pixels else "",
      str(len(self.overlaps) - len(right)),
      str(self.false),
    ]


def score_detectors(
  data: Path,
  *,
  face: str | None,
  occluder: str | None,
  as_boxes: bool = False,
  split: str | None = None,
  models: str | None = None,
) -> dict[str, Scores]:
  """Scores detectors on labelled pictures.

  Args:
    data: folder of the data set, see `data_prep.dataset.labels`.
    face: name of a detector of faces; None: not scored.
    occluder: name of a detector of occluders; None: not scored.
    as_boxes: whether outlines are compared by the boxes around them.
    split: name of the folder in `images`; None means all of them.
    models: folder of MediaPipe's models.

  Returns:
    The scores of each detector, by its name.

  Raises:
    InputError: a detector, a picture or a label cannot be used.
  """
  if face is None and occluder is None:
    raise InputError("name what is to be scored: --face, --occluder, or both")
  if occluder is not None and occluder.startswith("masks:"):
    raise InputError(f"--occluder {occluder}: masks are no detector")
  paths = picture_paths(data, split)
  judges: dict[str, Callable[[LabelledPicture, Scores], None]] = {}
  with ExitStack() as opened:
    if face is not None:
      detector = open_face_detector(face, models, still=True)
      opened.enter_context(closing(detector))
      judges[f"face, {face}"] = partial(_judge_face, detector)
    if occluder is not None:
      detector = open_occluder_detector(occluder, models, Path())
      opened.enter_context(closing(detector))
      judges[f"occluder, {occluder}"] = partial(
        _judge_occluder, detector, as_boxes
      )
    scores = {name: Scores() for name in judges}
    for path in progress_bar(paths, unit="picture"):
      picture = read_labelled(path)
      for name, judge in judges.items():
        judge(picture, scores[name])
  return scores


def table(scores: dict[str, Scores]) -> str:
  """Returns the scores as a table in Markdown."""
  rows = [_HEAD, ["---", *["---:"] * (len(_HEAD) - 1)]]
  rows += [[name, *its.row()] for name, its in scores.items()]
  return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _judge_face(
  detector: Detector, picture: LabelledPicture, scores: Scores
) -> None:
  """Compares the largest face that is found with the largest labelled one."""
  if picture.mask is not None:
    raise InputError(f"{picture.path}: has a mask, which shows no face")
  found = detector(picture.image, 0)
  boxes = [label.box for label in picture.labels if label.kind == FACE]
  if not boxes:
    scores.add(None, found=len(found) > 0)
    return
  true = max(boxes, key=lambda box: float((box[2:] - box[:2]).prod()))
  iou = overlap(true, found.boxes[largest(found)]) if len(found) else 0.0
  scores.add(iou, found=len(found) > 0)


def _judge_occluder(
  detector: Detector, as_boxes: bool, picture: LabelledPicture, scores: Scores
) -> None:
  """Compares the masks of all that is found and of all that is labelled."""
  shape = picture.image.shape[:2]
  labels = [label for label in picture.labels if label.kind == OCCLUDER]
  # Boxes say nothing of the outline that they surround.
  as_boxes = as_boxes or any(label.is_box for label in labels)
  found = covered(detector(picture.image, 0), shape, as_boxes=as_boxes)
  true = np.zeros(shape, np.uint8)
  if picture.mask is not None:
    true = picture.mask
    if as_boxes and true.any():
      true = box_mask(bounding_box(true)[None], shape)
  elif as_boxes:
    true = box_mask(np.array([label.box for label in labels]), shape)
  else:
    for label in labels:
      # Pixel centres are at integers, the labels' corners on edges.
      points = np.round(label.outline - 0.5).astype(np.int32)
      cv2.fillPoly(true, [points], 1)
  scores.pixels.append(float((found == true).mean()))
  iou = float((found & true).sum() / max(int((found | true).sum()), 1))
  scores.add(iou if true.any() else None, found=bool(found.any()))
