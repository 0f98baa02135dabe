"""Whole frames in, whole frames out: finds, fills, and pastes back."""

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
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.previews import ExtraPaths, Extras
from diffmvr_jax.inference.stream import (
  SourceFrame,
  StreamOptions,
  restore_stream,
)
from diffmvr_jax.media.sinks import open_sink
from diffmvr_jax.media.sources import Source
from diffmvr_jax.media.video import TimedFrame

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
    dropped: frames of a live source that came too fast.
  """

  frames: int
  faces: int
  restored: int
  dropped: int = 0


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
    cls,
    workdir: str | Path,
    overrides: Sequence[str] = (),
    *,
    decoder: str | Path | None = None,
    **finding: Any,
  ) -> "Restorer":
    """Loads a model that `diffmvr_jax.train` wrote.

    Args:
      workdir: of the training.
      overrides: of how a restoration is drawn, such as `sampling.steps=10`.
      decoder: file of a TAESD decoder, see `CropRestorer`.
      finding: `face`, `which_face`, `occluder`, `as_boxes`, `dilation`,
        `lookahead`, `models` of `data_prep.recipe.Recipe`.

    Raises:
      InputError: there is no finished checkpoint; a wrong override.
    """
    from data_prep.recipe import Recipe

    crops = CropRestorer.from_checkpoint(workdir, overrides, decoder=decoder)
    return cls(crops, Recipe(size=crops.config.data.image_size, **finding))

  def __call__(
    self,
    frames: np.ndarray,
    masks: np.ndarray | None = None,
    *,
    fps: float = 25.0,
    options: StreamOptions | None = None,
  ) -> np.ndarray:
    """Restores a clip in memory.

    Args:
      frames: (n, h, w, 3) uint8, RGB.
      masks: (n, h, w), not 0 on the occlusion; None: it is searched for.
      fps: frames per second.
      options: seed and so on; None: the defaults.

    Returns:
      (n, h, w, 3) uint8.

    Raises:
      InputError: frames and masks do not fit; a detector's model is missing.
    """
    if masks is not None and masks.shape != frames.shape[:3]:
      raise InputError(
        f"masks {masks.shape} do not fit frames {frames.shape[:3]}"
      )
    return np.stack(list(self.stream(frames, masks, fps=fps, options=options)))

  def stream(
    self,
    frames: Iterable[np.ndarray],
    masks: Iterable[np.ndarray] | None = None,
    *,
    fps: float = 25.0,
    options: StreamOptions | None = None,
  ) -> Iterator[np.ndarray]:
    """Restores frames as they come, in bounded memory.

    Args:
      frames: (h, w, 3) uint8 each.
      masks: (h, w) each; None: occlusions are searched for.
      fps: frames per second.
      options: None: the defaults. To its latency the recipe adds its
        `lookahead`, and with that above 0 a detector that may overlook
        something two frames more.

    Yields:
      (h, w, 3) uint8, for every frame in order.
    """
    from data_prep.sources import array_clip

    clip = array_clip(frames, Fraction(fps))
    sources = _sources(self._recipe.observed(clip, masks), 1 / clip.fps)
    for done in restore_stream(self.crops, sources, options):
      yield done.image

  def video(
    self,
    source: Source,
    out: str | Path,
    *,
    options: StreamOptions | None = None,
    lossless: bool = False,
    extras: ExtraPaths | None = None,
  ) -> Outcome:
    """Restores a video file, or whatever else `open_source` opens.

    Args:
      source: the video; its frames are taken.
      out: the file to write, or another name that `open_sink` knows.
      options: None: the defaults.
      lossless: encode without loss.
      extras: what else to write.

    Raises:
      InputError: the video cannot be used; no frame has a face. Nothing is
        written then.
    """
    from data_prep.sources import source_clip

    self._recipe.check([Path(source.name)])
    observed = self._recipe.observed(source_clip(source))
    frames = _sources(observed, source.info.time_base)
    return restore_video(
      source,
      frames,
      self.crops,
      out,
      options=options,
      lossless=lossless,
      extras=extras,
    )


def _sources(
  observed: Iterable[tuple["Frame", "FrameRecord | SkippedFrame"]],
  time_base: Fraction,
) -> Iterator[SourceFrame]:
  for frame, item in observed:
    record = item if isinstance(item, FrameRecord) else None
    yield SourceFrame(frame.image, int(frame.time / time_base), record)


def restore_video(
  source: Source,
  frames: Iterable[SourceFrame],
  restorer: CropRestorer,
  out: str | Path,
  *,
  options: StreamOptions | None = None,
  lossless: bool = False,
  extras: ExtraPaths | None = None,
) -> Outcome:
  """Restores frames as they come, and writes the video.

  Args:
    source: the video, for its properties and its audio.
    frames: of it, in order.
    restorer: the model.
    out: the file to write, or another name that `open_sink` knows.
    options: None: the defaults.
    lossless: encode without loss.
    extras: what else to write.

  Raises:
    InputError: no frame has a face; nothing is written.
  """
  options = options or StreamOptions()
  counts: Counter[str] = Counter()
  size = restorer.config.data.image_size
  with (
    Extras(extras or ExtraPaths(), source.info, size) as extra,
    open_sink(
      out,
      source.info,
      lossless=lossless,
      copy_from=source.streams,
      comment=provenance(restorer, options),
    ) as writer,
    tqdm(total=source.estimate or None, unit="frame", file=sys.stderr) as bar,
  ):
    for done in restore_stream(restorer, frames, options):
      extra.write(done, counts["frames"])
      counts["frames"] += 1
      counts["faces"] += done.source.record is not None
      counts["restored"] += done.source.occluded
      writer.write(TimedFrame(done.image, done.source.pts))
      bar.update()
    if not counts["faces"] and source.complaint is None:
      raise InputError(
        f"{source.name}: no face in any of its {counts['frames']} frames"
      )
  return Outcome(
    frames=counts["frames"],
    faces=counts["faces"],
    restored=counts["restored"],
    dropped=source.dropped,
  )


def provenance(restorer: CropRestorer, options: StreamOptions) -> str:
  """What a restored video says of itself, as JSON."""
  return json.dumps(
    {
      "restored_by": f"DiffMVR-JAX {__version__}",
      "note": "Pixels under an occlusion are estimated, not seen.",
      "checkpoint": restorer.checkpoint,
      "sampling": dataclasses.asdict(restorer.config.sampling),
      "stream": dataclasses.asdict(options),
    }
  )
