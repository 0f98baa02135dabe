"""Writes restored frames as a video, with what a file says of its making."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from diffmvr_jax import __version__
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.crop_filling import CropFiller
from diffmvr_jax.inference.previews import PreviewPaths, Previews
from diffmvr_jax.inference.stream import (
  RestoredFrame,
  SourceFrame,
  StreamOptions,
  restore_stream,
)
from diffmvr_jax.media.sinks import open_sink
from diffmvr_jax.media.sources import Source
from diffmvr_jax.media.video import TimedFrame


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """What `restore_video` did.

  Attributes:
    frames: number of frames that were written.
    faces: number of frames with a face; None if no face was looked for.
    restored: number of frames that were changed.
    dropped: number of frames of a live source that came too fast.
  """

  frames: int
  faces: int | None
  restored: int
  dropped: int = 0


def restore_video(
  source: Source,
  frames: Iterable[SourceFrame],
  filler: CropFiller,
  out: str | Path,
  *,
  options: StreamOptions | None = None,
  lossless: bool = False,
  previews: PreviewPaths | None = None,
) -> Outcome:
  """Restores frames as they come, and writes the video.

  Args:
    source: the video, which gives its properties and its audio.
    frames: the video's frames, in order.
    filler: fills the occluded part of crops.
    out: the file to write, or another name that `open_sink` knows.
    options: None means the defaults.
    lossless: whether to encode without loss.
    previews: previews to write; None means none.

  Raises:
    InputError: no frame has a face; then nothing is written.
  """
  options = options or StreamOptions()
  return write_restored(
    source,
    restore_stream(filler, frames, options),
    out,
    comment=provenance(filler, options),
    crop_size=filler.crop_size,
    lossless=lossless,
    previews=previews,
  )


def write_restored(
  source: Source,
  restored: Iterable[RestoredFrame],
  out: str | Path,
  *,
  comment: str,
  crop_size: int,
  needs_face: bool = True,
  lossless: bool = False,
  previews: PreviewPaths | None = None,
  on_frame: Callable[[], object] | None = None,
) -> Outcome:
  """Writes restored frames as they come.

  Args:
    source: the video, which gives its properties and its audio.
    restored: the restored frames, in order.
    out: the file to write, or another name that `open_sink` knows.
    comment: what the file says of how it was made.
    crop_size: side of the faces' crops, for the previews.
    needs_face: whether it is an error if no frame has a face.
    lossless: whether to encode without loss.
    previews: previews to write; None means none.
    on_frame: is called after each frame; None means that a progress bar is
      shown.

  Raises:
    InputError: there is no frame, or none has a face; then nothing is written.
  """
  counts: Counter[str] = Counter()
  paths = previews or PreviewPaths()
  with (
    Previews(paths, source.info, crop_size) as shown,
    open_sink(
      out,
      source.info,
      lossless=lossless,
      copy_from=source.streams,
      comment=comment,
    ) as writer,
    progress_bar(
      total=source.estimate or None, unit="frame", disable=on_frame is not None
    ) as bar,
  ):
    for done in restored:
      shown.write(done, counts["frames"])
      counts["frames"] += 1
      counts["faces"] += done.source.record is not None
      counts["restored"] += done.alpha is not None
      writer.write(TimedFrame(done.image, done.source.pts))
      (on_frame or bar.update)()
    if not counts["frames"]:
      why = source.complaint or f"{source.name}: has no frame"
      raise InputError(f"{why}; nothing is written")
    if needs_face and not counts["faces"] and source.complaint is None:
      raise InputError(
        f"{source.name}: no face in any of its {counts['frames']} frames"
      )
  return Outcome(
    frames=counts["frames"],
    faces=counts["faces"] if needs_face else None,
    restored=counts["restored"],
    dropped=source.dropped,
  )


def provenance(
  filler: CropFiller, options: StreamOptions, region: str = "face"
) -> str:
  """Returns the JSON that a restored video carries: how it was made."""
  return json.dumps(
    {
      "restored_by": f"DiffMVR-JAX {__version__}",
      "note": "Pixels under an occlusion are estimated, not seen.",
      **filler.provenance,
      "region": region,
      "stream": dataclasses.asdict(options),
    }
  )
