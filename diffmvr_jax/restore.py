r"""Restores a video.

  python -m diffmvr_jax.restore VIDEO --checkpoint DIR --out FILE \
    [sampling.steps=10 …]

Finds face and hands, builds the guidance, fills what is occluded and pastes
it back. Frames without occlusion pass through untouched; elsewhere only
pixels inside the feathered mask change. Size, frame count, timestamps, audio
and subtitles are the source's. The video is decoded once, and memory does not
grow with its length. The file's metadata say that it was restored, from which
checkpoint, and how.
"""

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from diffmvr_jax import __version__
from diffmvr_jax.data.codec import FrameRecord
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.inference import video
from diffmvr_jax.inference.restorer import CropRestorer
from diffmvr_jax.inference.stream import SourceFrame, restore_stream

if TYPE_CHECKING:
  from data_prep.prepare import SkippedFrame
  from data_prep.recipe import Recipe
  from data_prep.sources import Frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """What `restore_video` did.

  Attributes:
    frames: of the video.
    faces: frames with a face.
    restored: frames that were changed.
  """

  frames: int
  faces: int
  restored: int


class Restorer:
  """Whole frames in, whole frames out: finds, fills, and pastes back.

  Args:
    crops: the model.
    recipe: how face and occlusion are found.

  Example:
    >>> from diffmvr_jax import Restorer
    >>> restorer = Restorer.from_checkpoint("runs/ward")  # doctest: +SKIP
    >>> restored = restorer(frames)  # doctest: +SKIP
  """

  def __init__(self, crops: CropRestorer, recipe: "Recipe"):
    self.crops, self._recipe = crops, recipe

  @classmethod
  def from_checkpoint(
    cls, workdir: str | Path, overrides: Sequence[str] = (), **finding: Any
  ) -> "Restorer":
    """Loads a model that `diffmvr_jax.train` wrote.

    Args:
      workdir: of the training.
      overrides: of how a restoration is drawn, such as `sampling.steps=10`.
      finding: `face`, `occluder`, `as_boxes`, `models` of
        `data_prep.recipe.Recipe`.

    Raises:
      InputError: there is no finished checkpoint; a wrong override.
    """
    from data_prep.recipe import Recipe

    crops = CropRestorer.from_checkpoint(workdir, overrides)
    return cls(crops, Recipe(size=crops.config.data.image_size, **finding))

  def __call__(
    self,
    frames: np.ndarray,
    masks: np.ndarray | None = None,
    *,
    fps: float = 25.0,
    seed: int = 0,
  ) -> np.ndarray:
    """Restores a clip in memory.

    Args:
      frames: (n, h, w, 3) uint8, RGB.
      masks: (n, h, w), not 0 on the occlusion; None: it is searched for.
      fps: frames per second.
      seed: the same seed gives the same pixels.

    Returns:
      (n, h, w, 3) uint8.

    Raises:
      InputError: frames and masks do not fit; a detector's model is missing.
    """
    if masks is not None and masks.shape != frames.shape[:3]:
      raise InputError(
        f"masks {masks.shape} do not fit frames {frames.shape[:3]}"
      )
    return np.stack(list(self.stream(frames, masks, fps=fps, seed=seed)))

  def stream(
    self,
    frames: Iterable[np.ndarray],
    masks: Iterable[np.ndarray] | None = None,
    *,
    fps: float = 25.0,
    seed: int = 0,
    latency: int = 32,
  ) -> Iterator[np.ndarray]:
    """Restores frames as they come, in bounded memory.

    Args:
      frames: (h, w, 3) uint8 each.
      masks: (h, w) each; None: occlusions are searched for.
      fps: frames per second.
      seed: the same seed gives the same pixels.
      latency: as in `restore_stream`; the crop's smoothing adds
        `data_prep.track.LOOKAHEAD` frames to it.

    Yields:
      (h, w, 3) uint8, for every frame in order.
    """
    from data_prep.sources import array_clip

    clip = array_clip(frames, Fraction(fps))
    sources = _sources(self._recipe.observed(clip, masks), 1 / clip.fps)
    for done in restore_stream(self.crops, sources, seed=seed, latency=latency):
      yield done.image

  def video(
    self, source: Path, out: Path, *, seed: int = 0, lossless: bool = False
  ) -> Outcome:
    """Restores a video file.

    Args:
      source: the video.
      out: the file to write.
      seed: the same seed gives the same pixels.
      lossless: encode without loss.

    Raises:
      InputError: the video cannot be used; no frame has a face. Nothing is
        written then.
    """
    self._recipe.check([source])
    time_base = video.probe(source).time_base
    frames = _sources(self._recipe.observed(source), time_base)
    return restore_video(
      source, frames, self.crops, out, seed=seed, lossless=lossless
    )


def _sources(
  observed: Iterable[tuple["Frame", "FrameRecord | SkippedFrame"]],
  time_base: Fraction,
) -> Iterator[SourceFrame]:
  for frame, item in observed:
    record = item if isinstance(item, FrameRecord) else None
    yield SourceFrame(frame.image, int(frame.time / time_base), record)


def restore_video(
  source: Path,
  frames: Iterable[SourceFrame],
  restorer: CropRestorer,
  out: Path,
  *,
  seed: int = 0,
  lossless: bool = False,
) -> Outcome:
  """Restores frames as they come, and writes the video.

  Args:
    source: the video, for its properties and its audio.
    frames: of it, in order.
    restorer: the model.
    out: the file to write.
    seed: the same seed gives the same pixels.
    lossless: encode without loss.

  Raises:
    InputError: no frame has a face; nothing is written.
  """
  counts: Counter[str] = Counter()
  estimate = video.frame_estimate(source)
  with (
    video.VideoWriter(
      out,
      video.probe(source),
      lossless=lossless,
      copy_from=source,
      comment=provenance(restorer, seed),
    ) as writer,
    tqdm(total=estimate or None, unit="frame", file=sys.stderr) as bar,
  ):
    for done in restore_stream(restorer, frames, seed=seed):
      counts["frames"] += 1
      counts["faces"] += done.source.record is not None
      counts["restored"] += done.source.occluded
      writer.write(video.TimedFrame(done.image, done.source.pts))
      bar.update()
    if not counts["faces"]:
      raise InputError(
        f"{source}: no face in any of its {counts['frames']} frames"
      )
  return Outcome(
    frames=counts["frames"],
    faces=counts["faces"],
    restored=counts["restored"],
  )


def provenance(restorer: CropRestorer, seed: int) -> str:
  """What a restored video says of itself, as JSON."""
  return json.dumps(
    {
      "restored_by": f"DiffMVR-JAX {__version__}",
      "note": "Pixels under an occlusion are estimated, not seen.",
      "checkpoint": restorer.checkpoint,
      "sampling": dataclasses.asdict(restorer.config.sampling),
      "seed": seed,
    }
  )


def main(argv: list[str]) -> None:
  """Parses the arguments and restores."""
  parser = argparse.ArgumentParser(
    prog="python -m diffmvr_jax.restore", description=__doc__
  )
  parser.add_argument("video", type=Path)
  parser.add_argument(
    "--checkpoint", type=Path, required=True, help="workdir of the training"
  )
  parser.add_argument("--out", type=Path, required=True)
  parser.add_argument(
    "--lossless", action="store_true", help="FFV1 in .mkv, else x264 RGB qp 0"
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--face", default="mediapipe", help="or yolo:WEIGHTS.pt[#CLASS]"
  )
  parser.add_argument(
    "--occluder",
    default="mediapipe",
    help="mediapipe (hands), yolo:WEIGHTS.pt[#CLASS], or masks:PATH (video, "
    "folder of images, or image)",
  )
  parser.add_argument(
    "--mask",
    choices=["irregular", "box"],
    default="irregular",
    help="outline or bounding box of the occlusion",
  )
  parser.add_argument("--models", help="folder of MediaPipe's .task files")
  parser.add_argument(
    "overrides", nargs="*", metavar="KEY=VALUE", help="sampling.KEY=VALUE"
  )
  args = parser.parse_args(argv)
  if args.out.resolve() == args.video.resolve():
    raise InputError(f"{args.out}: would overwrite the source")
  video.probe(args.video)  # a bad file is refused before anything is loaded
  restorer = Restorer.from_checkpoint(
    args.checkpoint,
    args.overrides,
    face=args.face,
    occluder=args.occluder,
    as_boxes=args.mask == "box",
    models=args.models,
  )
  outcome = restorer.video(
    args.video, args.out, seed=args.seed, lossless=args.lossless
  )
  print(
    f"{args.out}: {outcome.restored} of {outcome.frames} frames restored, "
    f"{outcome.frames - outcome.faces} without a face"
  )


if __name__ == "__main__":
  run_command(main)
