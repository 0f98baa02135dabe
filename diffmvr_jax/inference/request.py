"""What the command `restore` is asked for, and how it is carried out.

A bad source, or arguments that do not fit together, are refused before a model
is loaded.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

from diffmvr_jax import pretrained
from diffmvr_jax.buckets import Place, copied, in_bucket, place, uploaded
from diffmvr_jax.engines.workers import open_workers
from diffmvr_jax.errors import InputError, PartlyDoneError
from diffmvr_jax.inference import occluder_name
from diffmvr_jax.inference.archive import (
  Manifest,
  Row,
  begun_row,
  restore_archive,
)
from diffmvr_jax.inference.archive_videos import Job, find_jobs, is_archive
from diffmvr_jax.inference.previews import PreviewPaths
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import StreamOptions
from diffmvr_jax.inference.written_video import Outcome
from diffmvr_jax.media.sources import Source, open_source

_DEFAULT = Path(f"{pretrained.PREFIX}{pretrained.DEFAULT}")
# Those that `--flow-prior` may name for whole frames too: none is used there.
_COMMON_PRIORS = (None, "faces", "none")


@dataclass(frozen=True, kw_only=True)
class Request:
  """A source, what restores it, and what is written.

  Attributes:
    video: name of the source, as `open_source` takes it; or several videos,
      see `diffmvr_jax.inference.archive`.
    out: name of the result, as `open_sink` takes it; a folder for several.
    fps: frames per second of pictures and raw frames; None means 25.
    size: width and height of raw frames.
    method: "model", or "propagation", which needs none.
    checkpoint: workdir of the model's training run, or another name that
      `open_model` knows; None means the model that comes with the package.
    overrides: settings of the sampling, such as `sampling.steps=10`.
    decoder: file of a TAESD decoder, or "tiny"; None means the model's own.
    region: "face", or "frame" for the whole picture.
    finding: how faces and occlusions are found, see
      `Restorer.from_checkpoint`.
    options: seed, latency and so on.
    lossless: whether to encode without loss.
    previews: previews to write.
    engine: Ray cluster that restores several videos, see `open_workers`.
  """

  video: str
  out: str
  fps: Fraction | None = None
  size: tuple[int, int] | None = None
  method: Literal["model", "propagation"] = "model"
  checkpoint: Place | None = None
  overrides: Sequence[str] = ()
  decoder: str | None = None
  region: Literal["face", "frame"] = "face"
  finding: Mapping[str, Any] = field(default_factory=dict)
  options: StreamOptions = field(default_factory=StreamOptions)
  lossless: bool = False
  previews: PreviewPaths = field(default_factory=PreviewPaths)
  engine: str | None = None


def carry_out(request: Request) -> Iterator[str]:
  """Restores what is asked for.

  Yields:
    What was done, a line each.

  Raises:
    InputError: the source cannot be read, or breaks off; the arguments do not
      fit together; or there is no such model.
  """
  _refuse_misfits(request)
  default = request.method == "model" and request.checkpoint is None
  chosen = replace(request, checkpoint=_DEFAULT) if default else request
  if is_archive(request.video):
    _refuse_misfits_of_archive(request)
    lines = _restored_archive(chosen)
  elif in_bucket(request.out):
    raise InputError(f"{request.out}: buckets take the results of a folder")
  elif request.engine is not None:
    raise InputError("--engine is for several videos: give a folder or a list")
  else:
    source = open_source(request.video, fps=request.fps, size=request.size)
    lines = _restored(chosen, source)
  if default:
    yield f"restoring with {_DEFAULT}, as no --checkpoint is given"
  yield from lines


def _restored(request: Request, source: Source) -> Iterator[str]:
  outcome = _restorer(request).video(
    source,
    request.out,
    options=request.options,
    lossless=request.lossless,
    previews=request.previews,
  )
  yield f"{request.out}: {_counted(outcome)}"
  if source.complaint is not None:
    raise PartlyDoneError(f"{source.complaint}; what came before is restored")


def _refuse_misfits(request: Request) -> None:
  """Refuses arguments that do not fit together.

  Raises:
    InputError: says what to leave out.
  """
  video, out = request.video, request.out
  if out != "-" and Path(out).resolve() == Path(video).resolve():
    raise InputError(f"{out}: would overwrite the source")
  if request.method == "propagation":
    if request.checkpoint or request.decoder or request.overrides:
      raise InputError(
        "--method propagation has no model: leave out --checkpoint, --decoder "
        "and sampling.KEY=VALUE"
      )
    own_prior = request.finding.get("flow_prior") not in _COMMON_PRIORS
    if own_prior and request.region == "frame":
      raise InputError("--flow-prior knows faces only, not --region frame")


def _refuse_misfits_of_archive(request: Request) -> None:
  if request.out == "-" or place(request.out).suffix:
    raise InputError(f"{request.out}: several videos need a folder for --out")
  if request.previews != PreviewPaths():
    raise InputError("previews are files of one video; name one")
  if request.size is not None or request.fps is not None:
    raise InputError("--size and --fps are not for videos")
  # Refused before a model is loaded.
  find_jobs(place(request.video), place(request.out))
  Manifest(place(request.out))


def _restored_archive(request: Request) -> Iterator[str]:
  """The same for several videos, with a model for each worker."""
  propagates = request.method == "propagation"
  occluder = request.finding.get("occluder")
  learned = occluder is not None and occluder_name.named(occluder).learned
  with open_workers(
    partial(ArchiveWorker, request),
    request.engine,
    computes=learned or not propagates,
  ) as workers:
    yield from restore_archive(
      place(request.video),
      place(request.out),
      workers,
      checkpoint=_checkpoint_name(request),
    )


class ArchiveWorker:
  """Restores videos of an archive, one after the other, with one model.

  Args:
    request: says what restores, and how.

  Attributes:
    about: stands for everything that a result depends on besides its video.

  Raises:
    InputError: there is no such model.
  """

  def __init__(self, request: Request):
    self._request, self._restorer = request, _restorer(request)
    settings = self._restorer.settings(request.options)
    text = json.dumps([settings, request.lossless], default=str)
    self.about = hashlib.sha256(text.encode()).hexdigest()[:16]

  def __call__(self, job: Job, after_frame: Callable[[], object]) -> Row:
    """Restores a video; returns the row of the manifest.

    Raises:
      InputError: the video cannot be used; then nothing is written.
      OSError: the disk does not take the result.
    """
    begun, start = begun_row(job, self.about), time.monotonic()
    with copied(job.source) as source, uploaded(job.out) as out:
      outcome = self._restorer.video(
        open_source(source),
        out,
        options=self._request.options,
        lossless=self._request.lossless,
        on_frame=after_frame,
      )
    blind = ""
    if outcome.faces is not None:
      blind = f"{1 - outcome.faces / outcome.frames:.4f}"
    return replace(
      begun,
      frames=str(outcome.frames),
      restored=str(outcome.restored),
      without_face=blind,
      checkpoint=_checkpoint_name(self._request),
      seconds=f"{time.monotonic() - start:.1f}",
    )


def _checkpoint_name(request: Request) -> str:
  return str(request.checkpoint or request.method)


def _restorer(request: Request) -> Restorer:
  if request.method == "propagation":
    return Restorer.propagation(region=request.region, **request.finding)
  assert request.checkpoint is not None
  return Restorer.from_checkpoint(
    request.checkpoint,
    request.overrides,
    region=request.region,
    decoder=request.decoder,
    **request.finding,
  )


def _counted(outcome: Outcome) -> str:
  dropped = f", {outcome.dropped} dropped" if outcome.dropped else ""
  blind = ""
  if outcome.faces is not None:
    blind = f", {outcome.frames - outcome.faces} without a face"
  return (
    f"{outcome.restored} of {outcome.frames} frames restored{blind}{dropped}"
  )
