"""Writes a YOLO data set that detectors label, as a start for labelling.

Two classes: 0 `face`, the box or outline of the face, and 1 `occluder`, what
covers it, found or pasted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_prep.detectors.find_masks import find_masks
from data_prep.detectors.interface import bounding_box
from data_prep.faces import crop
from data_prep.faces.landmarks import oval
from data_prep.faces.track import Face, FaceFinder, track
from data_prep.occlusion.clutter import clutter
from data_prep.occlusion.paste import Occlusion, compose, unit_to_pixels
from data_prep.occlusion.sprites import SpriteOcclusion
from data_prep.prepare import Found
from data_prep.recipe import Recipe, seed_of
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import write_atomically

_DATA_YAML = """\
# Written by `python -m data_prep annotate`. Look at the labels, correct them,
# then train with `python -m data_prep train-detector --data {path}`.
path: {folder}
train: images/train
val: images/validation
names:
  0: face
  1: occluder
"""
# Share of the picture; what is smaller, a fingertip that enters, has no label.
_MIN_AREA = 3e-3


@dataclass(frozen=True)
class Picture:
  """A labelled frame.

  Attributes:
    name: of its files, without suffix.
    image: (h, w, 3) uint8.
    labels: lines of a YOLO label file.
  """

  name: str
  image: np.ndarray
  labels: list[str]


def annotate_video(
  source: Path,
  recipe: Recipe,
  *,
  every: int,
  outlines: bool,
  cluttered: float = 0.0,
) -> Iterator[Picture]:
  """Labels every n-th frame of a video in which there is a face.

  Args:
    source: the video.
    recipe: detectors, and what to paste.
    every: distance between the frames.
    outlines: polygons for segmentation in place of boxes.
    cluttered: share of the pictures that get a background of blotches, where
      something is pasted.

  Raises:
    InputError: the video or a detector cannot be used.
  """
  for index, image, found, mask in _occluded(source, recipe, every, cluttered):
    if found is None:
      continue
    height, width = image.shape[:2]
    scale = np.array([width, height])
    labels = []
    if outlines and found.landmarks is not None:
      hull = cv2.convexHull(oval(found.landmarks))[:, 0]
      labels.append(_polygon(0, hull / scale))
    else:
      labels.append(_box(0, found.box, scale))
    if mask.mean() > _MIN_AREA:
      if outlines:
        labels += [_polygon(1, piece / scale) for piece in _pieces(mask)]
      else:
        labels.append(_box(1, bounding_box(mask), scale))
    yield Picture(f"{source.stem}_{index:06d}", image, labels)


def write_picture(picture: Picture, out: Path, split: str) -> None:
  """Writes image and labels; the labels last, so that they tell it is whole.

  Raises:
    OSError: the disk does not take it.
  """
  image = out / "images" / split / f"{picture.name}.jpg"
  label = out / "labels" / split / f"{picture.name}.txt"
  image.parent.mkdir(parents=True, exist_ok=True)
  label.parent.mkdir(parents=True, exist_ok=True)
  _, data = cv2.imencode(".jpg", cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR))
  image.write_bytes(data.tobytes())
  write_atomically(label, "\n".join(picture.labels) + "\n")


def write_data_yaml(out: Path) -> Path:
  """Writes the file that names folders and classes.

  Raises:
    InputError: one of the splits is empty.
  """
  for split in ("train", "validation"):
    if not any((out / "labels" / split).glob("*.txt")):
      raise InputError(f"{out}: no picture with a face for {split}")
  path = out / "data.yaml"
  write_atomically(path, _DATA_YAML.format(path=path, folder=out.resolve()))
  return path


def _occluded(
  source: Path, recipe: Recipe, every: int, cluttered: float
) -> Iterator[tuple[int, np.ndarray, Face | None, np.ndarray]]:
  """Index, image, face and occlusion mask of frames, at source size."""
  with recipe.opened(source) as (clip, detector, occlusion):
    finder = FaceFinder(detector)
    frames = clip.frames()
    if isinstance(occlusion, Found):
      masked = find_masks(
        frames, occlusion.detector, as_boxes=occlusion.as_boxes
      )
      for frame, mask in masked:
        found = finder(frame.image, frame.index)
        if frame.index % every == 0:
          yield frame.index, frame.image, found, mask
      return
    pasting: Occlusion | SpriteOcclusion | None = None
    observed = (
      ((frame, found := finder(frame.image, frame.index)), found)
      for frame in frames
    )
    for (frame, found), tracked in track(observed, recipe.size):
      if tracked is None or frame.index % every:
        continue
      if pasting is None:
        face_crop = crop.warp(frame.image, tracked.transform, recipe.size)
        pasting = occlusion.start(clip.fps, face_crop, tracked)
      to_image = compose(
        crop.invert(tracked.transform), unit_to_pixels(recipe.size)
      )
      image = frame.image
      rng = np.random.default_rng(
        seed_of(recipe.seed, f"{clip.video_id}/{frame.index}")
      )
      if found is not None and rng.random() < cluttered:
        image = clutter(image, found.box, rng)
      image, mask = pasting.paste(image, float(frame.time), to_image)
      yield frame.index, image, found, mask


def _box(label: int, box: np.ndarray, scale: np.ndarray) -> str:
  low = np.clip(box[:2] / scale, 0, 1)
  high = np.clip(box[2:] / scale, 0, 1)
  values = [*((low + high) / 2), *(high - low)]
  return f"{label} " + " ".join(f"{v:.6f}" for v in values)


def _polygon(label: int, points: np.ndarray) -> str:
  values = np.clip(points, 0, 1).ravel()
  return f"{label} " + " ".join(f"{v:.6f}" for v in values)


def _pieces(mask: np.ndarray) -> list[np.ndarray]:
  contours, _ = cv2.findContours(
    mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
  )
  pieces = [cv2.approxPolyDP(c, 1.0, True)[:, 0] for c in contours]
  return [
    piece
    for piece, contour in zip(pieces, contours, strict=True)
    if len(piece) >= 3 and cv2.contourArea(contour) > _MIN_AREA * mask.size
  ]
