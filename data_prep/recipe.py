"""How videos are prepared: one value, which worker processes take as well."""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from etils import epath

from data_prep.clip import Clip, Frame
from data_prep.detections import CropOccluder, Detector
from data_prep.detectors.by_name import (
  check_occluder_detector,
  missing_landmarks,
  open_face_detector,
  open_occluder_detector,
)
from data_prep.detectors.given_masks import GivenMasks
from data_prep.detectors.landmarkers import FaceDetector
from data_prep.drawn_clips import (
  PortraitSource,
  portrait_clip,
  procedural_clip,
)
from data_prep.faces.aligned import LOOKS, Aligned
from data_prep.faces.flow_prior import FlowPrior, open_flow_prior
from data_prep.faces.track import LOOKAHEAD
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.portraits import mesh_file
from data_prep.prepare import (
  CropOcclusion,
  RealOcclusion,
  SkippedFrame,
  SyntheticOcclusion,
  prepare,
  with_masks,
)
from data_prep.sources import VideoSource, at_rate, file_clip
from data_prep.stills import OnceDetector, StillSource, still_clip
from diffmvr_jax.buckets import copied
from diffmvr_jax.command_line.terminal import note
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.errors import InputError
from diffmvr_jax.media.pace import Pace


@dataclass(frozen=True, kw_only=True)
class OpenVideo:
  """A video with the detectors that are opened for it.

  Attributes:
    clip: the video.
    find_face: detector of faces.
    occlusion: what to paste, or how to find what is there.
    pace: see `prepare`.
  """

  clip: Clip
  find_face: Detector
  occlusion: SyntheticOcclusion | RealOcclusion | CropOcclusion
  pace: Pace


@dataclass(frozen=True, kw_only=True)
class Recipe:
  """The settings that all videos of an export share.

  Attributes:
    size: side of the crops, in pixels.
    face: name of the face detector, as `open_face_detector` takes it.
    occluder: name of the occluder detector, as `open_occluder_detector` takes
      it; it is not used if `paste` is set. None means that a crop occluder or
      masks are handed in, and nothing else finds what covers the face.
    helped: whether a crop occluder looks beside that detector, which may rest
      in a live stream then.
    as_boxes: whether the occluder's bounding box becomes the mask.
    dilation: pixels of the video by which a mask that is found grows.
    growth: share of the frame's longer side by which it grows as well, see
      `RealOcclusion`.
    which_face: `largest`, or a number from the left, see `FaceFinder`.
    lookahead: frames that a frame waits for, see `prepare`. Those beyond the
      first 12 make aligned guidance better, and hold 512 MiB at most.
    paste: what to paste; None means that occlusions are found.
    models: folder of MediaPipe's models, see `diffmvr_jax.files`.
    seed: decides what is pasted.
    aligned: how much of the aligned guidance the records hold, see
      `data_prep.faces.aligned`.
    flow_prior: name of a prior of how faces move, which helps to propagate, as
      `open_flow_prior` takes it.
    flow_side: side in pixels to which crops are shrunk for the search of flow;
      None means that they are not, up to 320 pixels.
    looks: other frames that a face is propagated from; each takes time.
    looks_every: of so many covered frames in a row, one is propagated from
      them, if the records hold sources. Beside a crop occluder, the detector of
      a live stream looks as rarely.
    overlap: whether faces are found in a thread of their own, see `prepare`.
    fps: frames per second that are taken of videos, and that stills get; None
      takes every frame of a video.
    still_seconds: length of the clip that a still becomes; 0 is one frame.
  """

  size: int
  face: str = "mediapipe"
  occluder: str | None = "mediapipe"
  helped: bool = False
  as_boxes: bool = False
  dilation: int = 0
  growth: float = 0.0
  which_face: str | int = "largest"
  lookahead: int = LOOKAHEAD
  paste: OcclusionConfig | None = None
  models: str | None = None
  seed: int = 0
  aligned: Aligned = "sources"
  flow_prior: str = "faces"
  flow_side: int | None = None
  looks: int = LOOKS
  looks_every: int = 1
  overlap: bool = False
  fps: float | None = None
  still_seconds: float = 0.0

  def check_detectors(self, sources: Iterable[VideoSource]) -> None:
    """Opens the detectors once, so that errors come before any work.

    Args:
      sources: the videos; drawn clips (numbers) need no detectors, nor do
        portraits with a stored mesh.

    Raises:
      InputError: a model is missing or damaged, or there is no such detector.
    """
    self._load_flow_prior()
    sources = [source for source in sources if not isinstance(source, int)]
    if not sources:
      return
    stills = [s.path for s in sources if isinstance(s, PortraitSource)]
    if not all(mesh_file(path).is_file() for path in stills):
      FaceDetector(self.models).close()  # whose model finds the mesh, too
    if len(stills) < len(sources):
      self.face_detector().close()
      reason = missing_landmarks(self.face, self.models)
      if reason is not None:
        note(f"symmetric guidance is off: {reason}")
    if self.paste is None:
      self.check_occluder()

  def check_occluder(self) -> None:
    """Opens the detector of occluders once.

    Raises:
      InputError: its model is missing or damaged, or there is no such detector.
    """
    if self.occluder is not None:
      check_occluder_detector(self.occluder, self.models)

  def records(
    self, source: VideoSource
  ) -> Generator[FrameRecord | SkippedFrame, None, None]:
    """Prepares one video, see `prepare`.

    Args:
      source: the video.

    Raises:
      InputError: the video or a detector cannot be used.
    """
    with self.open_video(source) as video:
      yield from self._prepare(video)

  def frames_and_records(
    self,
    source: Path | Clip,
    masks: Iterable[np.ndarray] | None = None,
    crop_occluder: CropOccluder | None = None,
    pace: Pace | None = None,
  ) -> Iterator[tuple[Frame, FrameRecord | SkippedFrame]]:
    """Prepares one video, and yields each frame with its record.

    The video is decoded once.

    Args:
      source: the video.
      masks: masks of shape (h, w), one for each frame; None means that the
        occluder is searched for.
      crop_occluder: finds it in the face's crop, beside the recipe's detector
        if it has one; None means that this alone does.
      pace: takes the place of `looks_every`, and may change meanwhile.

    Raises:
      InputError: the video or a detector cannot be used.
    """
    waiting: deque[Frame] = deque()
    with self.open_video(source, masks, crop_occluder, pace) as video:

      def frames() -> Iterator[Frame]:
        for frame in video.clip.frames():
          waiting.append(frame)
          yield frame

      kept = replace(video, clip=replace(video.clip, frames=frames))
      for item in self._prepare(kept):
        yield waiting.popleft(), item

  @contextmanager
  def open_video(
    self,
    source: VideoSource | Clip,
    masks: Iterable[np.ndarray] | None = None,
    crop_occluder: CropOccluder | None = None,
    pace: Pace | None = None,
  ) -> Iterator[OpenVideo]:
    """Opens a video and its detectors, and closes the detectors at the end.

    Args:
      source: a video's source, or a clip.
      masks: masks of shape (h, w), one for each frame; None means that the
        occluder is searched for.
      crop_occluder: see `frames_and_records`.
      pace: likewise.

    Raises:
      InputError: one of them cannot be used.
    """
    pace = pace or Pace(self.looks_every)
    if isinstance(source, epath.Path):  # in a bucket
      with copied(source) as copy:
        clip = replace(self._opened(copy), path=str(source))
        with self.open_video(clip, masks, crop_occluder, pace) as video:
          yield video
      return
    if isinstance(source, int | PortraitSource) and self.paste is None:
      name = f"procedural:{source}" if isinstance(source, int) else source
      raise InputError(f"{name}: drawn clips have only synthetic occlusion")
    if isinstance(source, int):
      clip, find_face = procedural_clip(source)
    elif isinstance(source, PortraitSource):
      seed = seed_of(self.seed, source.video_id)
      clip, find_face = portrait_clip(source, seed, self.models)
    else:
      clip = source if isinstance(source, Clip) else self._opened(source)
      find_face = self.face_detector()
      if clip.still:
        find_face = OnceDetector(find_face)
    with closing(find_face):
      if self.paste is not None:
        seed = seed_of(self.seed, clip.video_id)
        yield OpenVideo(
          clip=clip,
          find_face=find_face,
          occlusion=SyntheticOcclusion(
            config=self.paste, seed=seed, as_boxes=self.as_boxes
          ),
          pace=pace,
        )
        return
      with ExitStack() as stack:
        found: RealOcclusion | None = None
        if masks is not None or self.occluder is not None:
          found = stack.enter_context(self._open_occlusion(clip, masks, pace))
        if masks is None and crop_occluder is not None:
          occlusion: RealOcclusion | CropOcclusion = CropOcclusion(
            occluder=crop_occluder,
            beside=found,
            as_boxes=self.as_boxes,
            dilation=self.dilation,
          )
        else:
          assert found is not None
          occlusion = found
        yield OpenVideo(
          clip=clip, find_face=find_face, occlusion=occlusion, pace=pace
        )

  def frames_and_masks(
    self, clip: Clip, masks: Iterable[np.ndarray] | None = None
  ) -> Iterator[tuple[Frame, np.ndarray]]:
    """Finds what covers the whole frames of a clip; no face is needed.

    Args:
      clip: the video.
      masks: masks of shape (h, w), one for each frame; None means that the
        occluder is searched for.

    Yields:
      Each frame with its (h, w) uint8 mask.

    Raises:
      InputError: the video or the detector cannot be used.
    """
    pace = Pace(self.looks_every)
    with self._open_occlusion(clip, masks, pace) as occlusion:
      yield from with_masks(
        clip.frames(), occlusion, causal=self.lookahead == 0
      )

  @contextmanager
  def _open_occlusion(
    self, clip: Clip, masks: Iterable[np.ndarray] | None, pace: Pace
  ) -> Iterator[RealOcclusion]:
    if masks is not None:
      detector: Detector = GivenMasks(masks)
    else:
      detector = self.occluder_detector(Path(clip.path), pace)
      if clip.still:
        detector = OnceDetector(detector)
    with closing(detector):
      yield RealOcclusion(
        detector=detector,
        as_boxes=self.as_boxes,
        dilation=self.dilation,
        growth=self.growth,
      )

  def _opened(self, source: Path | StillSource) -> Clip:
    """Opens a file as a clip of the frame rate that is asked for."""
    fps = None if self.fps is None else Fraction(self.fps).limit_denominator()
    if isinstance(source, StillSource):
      seconds = Fraction(self.still_seconds).limit_denominator()
      return still_clip(source, fps, seconds)
    clip = file_clip(source)
    if fps is None or fps == clip.fps:
      return clip
    if self.paste is None and self.occluder and not self.searches:
      raise InputError(
        f"{source}: --fps does not go with masks:PATH, which are of the "
        "video's own frames; convert video and masks to that rate first"
      )
    return at_rate(clip, fps)

  def face_detector(self) -> Detector:
    """Opens the detector of faces."""
    # The face with that number from the left has to be among them.
    wanted = 1 if isinstance(self.which_face, str) else self.which_face + 1
    return open_face_detector(self.face, self.models, wanted=wanted)

  @property
  def searches(self) -> bool:
    """Whether a detector looks for occluders, which may overlook parts."""
    return not (self.occluder or "masks:").startswith("masks:")

  def occluder_detector(self, video: Path, pace: Pace) -> Detector:
    """Opens the detector of occluders for one video.

    Args:
      video: the video.
      pace: how rarely to look in a live stream, if something else looks too.
    """
    assert self.occluder is not None
    return open_occluder_detector(
      self.occluder,
      self.models,
      video,
      live=self.lookahead == 0,
      pace=pace if self.helped else None,
    )

  def _prepare(self, video: OpenVideo) -> Iterator[FrameRecord | SkippedFrame]:
    faces = marked = 0
    for item in prepare(
      video.clip,
      size=self.size,
      find_face=video.find_face,
      occlusion=video.occlusion,
      which_face=self.which_face,
      lookahead=self.lookahead,
      aligned=self.aligned,
      flow_prior=self._load_flow_prior(),
      flow_side=self.flow_side,
      looks=self.looks,
      pace=video.pace,
      overlap=self.overlap,
    ):
      if isinstance(item, FrameRecord):
        faces += 1
        marked += len(item.landmarks) > 0
      yield item
    if faces and not marked and not missing_landmarks(self.face, self.models):
      note(
        f"{video.clip.video_id}: symmetric guidance is off: there are no "
        f"landmarks in any of its {faces} faces"
      )

  def _load_flow_prior(self) -> FlowPrior | None:
    return open_flow_prior(self.flow_prior)


def seed_of(seed: int, video_id: str) -> int:
  """Returns a seed for one video that does not depend on the other videos."""
  digest = hashlib.sha256(f"{seed}/{video_id}".encode()).digest()
  return int.from_bytes(digest[:8], "little")
