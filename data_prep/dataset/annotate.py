"""Writes a YOLO data set whose labels are a start for labelling by hand.

It has two classes: 0 `face`, the box or outline of the face, and 1 `occluder`,
what covers it, whether found or pasted.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_prep.clip import Frame
from data_prep.dataset.finish import Splitting
from data_prep.detections import bounding_box
from data_prep.detectors.find_masks import find_masks
from data_prep.faces import crop
from data_prep.faces.finder import FaceFinder
from data_prep.faces.landmarks import oval
from data_prep.faces.track import Face, track
from data_prep.occlusion.clutter import clutter
from data_prep.occlusion.paste import Occlusion, compose, unit_to_pixels
from data_prep.occlusion.sprites import SpriteOcclusion
from data_prep.prepare import RealOcclusion, SyntheticOcclusion
from data_prep.recipe import OpenVideo, Recipe, seed_of
from data_prep.sources import expand
from diffmvr_jax.buckets import in_bucket
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import make_folder, write_atomically

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
# Share of the picture. An occluder that covers less, such as a fingertip that
# enters, gets no label.
_MIN_AREA = 3e-3


@dataclass(frozen=True)
class Picture:
  """A labelled frame.

  Attributes:
    name: name of its files, without suffix.
    image: (h, w, 3) uint8.
    labels: lines of a YOLO label file.
  """

  name: str
  image: np.ndarray
  labels: list[str]


@dataclass(frozen=True)
class _OccludedFrame:
  """A frame at the size of its video, with what is to be labelled.

  Attributes:
    index: number of the frame, from 0.
    image: (h, w, 3) uint8.
    face: the face; None if there is none.
    mask: (h, w) uint8, 1 on the occlusion.
  """

  index: int
  image: np.ndarray
  face: Face | None
  mask: np.ndarray


def annotate(
  names: list[str],
  out: Path,
  recipe: Recipe,
  splitting: Splitting,
  *,
  every: int,
  outlines: bool,
  cluttered: float,
) -> int:
  """Writes a YOLO data set of labelled frames of videos.

  Args:
    names: video files, or folders of them.
    out: folder of the data set.
    recipe: detectors, and what to paste.
    splitting: how the videos are divided into splits.
    every: distance between the frames that are labelled.
    outlines: whether labels are polygons, for segmentation, or boxes.
    cluttered: share of the training pictures that get a background of
      blotches.

  Returns:
    How many videos failed.

  Raises:
    InputError: a setting is wrong, or one of the splits is empty.
  """
  if not 0 <= cluttered <= 1:
    raise InputError(f"--cluttered {cluttered}: not within [0, 1]")
  if cluttered and recipe.paste is None:
    raise InputError("--cluttered would cover real hands: only synthetic ones")
  if any(in_bucket(name) for name in (*names, out)):
    raise InputError("annotate takes no buckets; copy the videos to a disk")
  sources = [s for s in expand(names) if isinstance(s, Path)]
  if not sources:
    raise InputError("only video files can be annotated")
  recipe.check_detectors(sources)
  split_of = splitting.of(source.stem for source in sources)
  failures = 0
  bar = progress_bar(sources, unit="video", desc="annotate")
  for source in bar:
    split = split_of[source.stem]
    try:
      for picture in annotate_video(
        source,
        recipe,
        every=every,
        outlines=outlines,
        cluttered=cluttered if split == "train" else 0.0,
      ):
        write_picture(picture, out, split)
    except InputError as error:
      bar.write(f"failed: {error}", file=sys.stderr)
      failures += 1
  print(write_data_yaml(out))
  return failures


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
    every: distance between the frames that are labelled.
    outlines: whether labels are polygons, for segmentation, or boxes.
    cluttered: share of the pictures that get a background of blotches, if
      something is pasted.

  Raises:
    InputError: the video or a detector cannot be used.
  """
  with recipe.open_video(source) as video:
    if isinstance(video.occlusion, RealOcclusion):
      frames = _with_real_occlusion(video, video.occlusion, every)
    else:
      assert isinstance(video.occlusion, SyntheticOcclusion)
      frames = _with_pasted_occlusion(
        video, video.occlusion, recipe, every=every, cluttered=cluttered
      )
    for frame in frames:
      if frame.face is not None:
        labels = _labels(frame, frame.face, outlines=outlines)
        name = f"{source.stem}_{frame.index:06d}"
        yield Picture(name, frame.image, labels)


def _labels(frame: _OccludedFrame, face: Face, *, outlines: bool) -> list[str]:
  height, width = frame.image.shape[:2]
  scale = np.array([width, height])
  labels = []
  if outlines and face.landmarks is not None:
    hull = cv2.convexHull(oval(face.landmarks))[:, 0]
    labels.append(_polygon(0, hull / scale))
  else:
    labels.append(_box(0, face.box, scale))
  if frame.mask.mean() > _MIN_AREA:
    if outlines:
      labels += [_polygon(1, piece / scale) for piece in _pieces(frame.mask)]
    else:
      labels.append(_box(1, bounding_box(frame.mask), scale))
  return labels


def write_picture(picture: Picture, out: Path, split: str) -> None:
  """Writes image and labels; the labels last, so that they tell it is whole.

  Raises:
    OSError: the disk does not take it.
  """
  image = out / "images" / split / f"{picture.name}.jpg"
  label = out / "labels" / split / f"{picture.name}.txt"
  make_folder(image.parent)
  make_folder(label.parent)
  _, data = cv2.imencode(".jpg", cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR))
  write_atomically(image, data.tobytes())
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


def _with_real_occlusion(
  video: OpenVideo, occlusion: RealOcclusion, every: int
) -> Iterator[_OccludedFrame]:
  find_one_face = FaceFinder(video.find_face)
  for frame, mask in find_masks(
    video.clip.frames(), occlusion.detector, as_boxes=occlusion.as_boxes
  ):
    face = find_one_face(frame.image, frame.index)
    if frame.index % every == 0:
      yield _OccludedFrame(frame.index, frame.image, face, mask)


def _with_pasted_occlusion(
  video: OpenVideo,
  occlusion: SyntheticOcclusion,
  recipe: Recipe,
  *,
  every: int,
  cluttered: float,
) -> Iterator[_OccludedFrame]:
  find_one_face = FaceFinder(video.find_face)

  def with_faces() -> Iterator[tuple[tuple[Frame, Face | None], Face | None]]:
    for frame in video.clip.frames():
      face = find_one_face(frame.image, frame.index)
      yield (frame, face), face

  pasted: Occlusion | SpriteOcclusion | None = None
  for (frame, face), tracked in track(with_faces(), recipe.size):
    if tracked is None or frame.index % every:
      continue
    if pasted is None:
      face_crop = crop.warp(frame.image, tracked.transform, recipe.size)
      pasted = occlusion.start(video.clip.fps, face_crop, tracked)
    image = frame.image
    rng = np.random.default_rng(
      seed_of(recipe.seed, f"{video.clip.video_id}/{frame.index}")
    )
    if face is not None and rng.random() < cluttered:
      image = clutter(image, face.box, rng)
    to_image = compose(
      crop.invert(tracked.transform), unit_to_pixels(recipe.size)
    )
    image, mask = pasted.paste(image, float(frame.time), to_image)
    yield _OccludedFrame(frame.index, image, face, mask)


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
