"""How videos are prepared, in one value that also worker processes take."""

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.detectors.given_masks import GivenMasks, UserMasks
from data_prep.detectors.interface import Detector
from data_prep.detectors.landmarkers import FaceDetector, HandDetector
from data_prep.detectors.yolo import YoloDetector
from data_prep.faces.track import LOOKAHEAD
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.prepare import Found, Pasted, SkippedFrame, prepare
from data_prep.sources import (
  Clip,
  Frame,
  PortraitSource,
  file_clip,
  portrait_clip,
  procedural_clip,
)
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.errors import InputError

_YOLO = re.compile(
  r"(?s)(?P<path>.+?)(?:#(?P<label>[^#/]*?))?"
  r"(?:@(?P<score>\d*\.?\d+(?:e-?\d+)?))?"
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
  """The settings that all videos of an export share.

  Attributes:
    size: side of the crops, in pixels.
    face: `mediapipe` or `yolo:WEIGHTS.pt[#CLASS][@SCORE]`.
    occluder: likewise, or `masks:PATH`; of no use where `paste` is set.
    as_boxes: take the occluder's bounding box as the mask.
    dilation: pixels of the video by which a found mask grows.
    which_face: `largest`, or a number from the left, as in `FaceFinder`.
    lookahead: frames that a frame waits for, as in `prepare`.
    paste: occlude synthetically in place of finding occlusions.
    models: folder of MediaPipe's models, see
      `data_prep.detectors.mediapipe_files`.
    seed: of what is pasted.
  """

  size: int
  face: str = "mediapipe"
  occluder: str = "mediapipe"
  as_boxes: bool = False
  dilation: int = 0
  which_face: str | int = "largest"
  lookahead: int = LOOKAHEAD
  paste: OcclusionConfig | None = None
  models: str | None = None
  seed: int = 0

  def records(
    self, source: Path | int | PortraitSource
  ) -> Iterator[FrameRecord | SkippedFrame]:
    """Prepares one video, see `prepare`.

    Raises:
      InputError: the video or a detector cannot be used.
    """
    with self.opened(source) as (clip, find_face, occlusion):
      yield from prepare(
        clip, find_face=find_face, occlusion=occlusion, **self._following()
      )

  def observed(
    self, source: Path | Clip, masks: Iterable[np.ndarray] | None = None
  ) -> Iterator[tuple[Frame, FrameRecord | SkippedFrame]]:
    """As `records`, each with the frame that it is made of; one decode.

    Args:
      source: the video.
      masks: (h, w) each, in place of the occluder's detector.

    Raises:
      InputError: as `records`.
    """
    waiting: deque[Frame] = deque()
    with self.opened(source, masks) as (clip, find_face, occlusion):

      def frames() -> Iterator[Frame]:
        for frame in clip.frames():
          waiting.append(frame)
          yield frame

      for item in prepare(
        replace(clip, frames=frames),
        find_face=find_face,
        occlusion=occlusion,
        **self._following(),
      ):
        yield waiting.popleft(), item

  @contextmanager
  def opened(
    self,
    source: Path | int | PortraitSource | Clip,
    masks: Iterable[np.ndarray] | None = None,
  ) -> Iterator[tuple[Clip, Detector, Pasted | Found]]:
    """Opens a video and its detectors, and closes them.

    Raises:
      InputError: one of them cannot be used.
    """
    if isinstance(source, int | PortraitSource) and self.paste is None:
      name = f"procedural:{source}" if isinstance(source, int) else source
      raise InputError(f"{name}: drawn clips have only synthetic occlusion")
    if isinstance(source, int):
      clip, find_face = procedural_clip(source)
    elif isinstance(source, PortraitSource):
      seed = seed_of(self.seed, source.video_id)
      clip, find_face = portrait_clip(source, seed, self.models)
    else:
      clip = source if isinstance(source, Clip) else file_clip(source)
      find_face = self._face()
    with closing(find_face):
      if self.paste is not None:
        seed = seed_of(self.seed, clip.video_id)
        yield clip, find_face, Pasted(config=self.paste, seed=seed)
        return
      if masks is not None:
        detector: Detector = GivenMasks(masks)
      else:
        detector = self._occluder(Path(clip.path))
      with closing(detector):
        found = Found(
          detector=detector, as_boxes=self.as_boxes, dilation=self.dilation
        )
        yield clip, find_face, found

  def _following(self) -> dict[str, Any]:
    """Settings of `prepare` that are no detectors."""
    return {
      "size": self.size,
      "which_face": self.which_face,
      "lookahead": self.lookahead,
    }

  def check(self, sources: Iterable[Path | int | PortraitSource]) -> None:
    """Opens what does not depend on a video, so that errors come early.

    Raises:
      InputError: a model is missing or damaged; a misspelt detector.
    """
    sources = [source for source in sources if not isinstance(source, int)]
    if not sources:
      return  # drawn clips need no models
    if any(isinstance(source, PortraitSource) for source in sources):
      FaceDetector(self.models).close()
    self._face().close()
    if self.paste is None:
      kind, _, path = self.occluder.partition(":")
      if kind == "masks" and path:
        if not Path(path).exists():
          raise InputError(f"{path}: no such file or folder of masks")
      else:
        self._occluder(Path()).close()

  def _face(self) -> Detector:
    kind, _, rest = self.face.partition(":")
    if kind == "mediapipe" and not rest:
      return FaceDetector(self.models)
    if kind == "yolo" and rest:
      return _yolo(rest, "face")
    raise InputError(
      f"--face {self.face}: expected mediapipe or yolo:WEIGHTS.pt"
    )

  def _occluder(self, source: Path) -> Detector:
    kind, _, rest = self.occluder.partition(":")
    if kind == "mediapipe" and not rest:
      return HandDetector(self.models)
    if kind == "yolo" and rest:
      return _yolo(rest, "occluder")
    if kind == "masks" and rest:
      return UserMasks(rest, source)
    raise InputError(
      f"--occluder {self.occluder}: expected mediapipe, yolo:WEIGHTS.pt or "
      "masks:PATH"
    )


def seed_of(seed: int, video_id: str) -> int:
  """One seed per video, whatever else is exported with it."""
  digest = hashlib.sha256(f"{seed}/{video_id}".encode()).digest()
  return int.from_bytes(digest[:8], "little")


def _yolo(described: str, role: str) -> Detector:
  """`WEIGHTS.pt[#CLASS][@SCORE]`."""
  parts = _YOLO.fullmatch(described)
  assert parts is not None
  path, label, score = parts.groups()
  confidence = float(score or YoloDetector.CONFIDENCE)
  if confidence > 1:
    raise InputError(
      f"yolo:{described}: the score {score} is not within [0, 1]"
    )
  return YoloDetector(path, label or None, role=role, confidence=confidence)
