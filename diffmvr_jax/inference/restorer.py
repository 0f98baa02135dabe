"""Restores whole frames: finds faces and occlusions, fills, pastes back."""

import dataclasses
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diffmvr_jax import pretrained
from diffmvr_jax.buckets import Place, copied, place
from diffmvr_jax.data.record_codec import blank_record
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference import occluder_name
from diffmvr_jax.inference.carried_filling import CarriedFiller
from diffmvr_jax.inference.crop_filling import CropFiller
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.finding import Finding
from diffmvr_jax.inference.fine_filling import filler_of
from diffmvr_jax.inference.occluder import OccluderNetwork
from diffmvr_jax.inference.previews import PreviewPaths
from diffmvr_jax.inference.propagation import PropagationFiller
from diffmvr_jax.inference.stream import (
  RestoredFrame,
  SourceFrame,
  StreamOptions,
  restore_stream,
)
from diffmvr_jax.inference.whole_frame import Faces, whole_frames
from diffmvr_jax.inference.written_video import (
  Outcome,
  provenance,
  write_restored,
)
from diffmvr_jax.media.pace import Pace
from diffmvr_jax.media.sources import Source
from diffmvr_jax.media.video import TimedFrame

if TYPE_CHECKING:
  from data_prep.clip import Clip
  from data_prep.recipe import Recipe


class Restorer:
  """Restores whole frames: finds faces and occlusions, fills, pastes back.

  Args:
    filler: fills the occluded part of crops.
    recipe: says how faces and occlusions are found.
    region: "face", or "frame": the occluder is taken out of the whole picture
      by propagation, and no face is needed; those that are there are filled.
    occluder: finds what covers a face in its crop, in place of the recipe's
      detector; None means that the recipe's does.

  Raises:
    InputError: the occluder does not go with the region.

  Example:
    >>> from diffmvr_jax import Restorer
    >>> restorer = Restorer.from_checkpoint("runs/ward")  # doctest: +SKIP
    >>> restored = restorer(frames)  # doctest: +SKIP
  """

  def __init__(
    self,
    filler: CropFiller,
    recipe: "Recipe",
    *,
    region: Literal["face", "frame"] = "face",
    occluder: OccluderNetwork | None = None,
  ):
    if region == "frame" and occluder is not None:
      raise InputError(
        "--region frame needs masks of whole pictures, which --occluder "
        "learned does not give: use mediapipe, yolo:… or masks:…"
      )
    if recipe.looks_every > 1 and filler.aligned == "sources":
      filler = CarriedFiller(filler)
    self._filler, self._region = filler, region
    self._finding = Finding(recipe, occluder).with_recipe(
      aligned=filler.aligned, helped=occluder is not None
    )

  @classmethod
  def propagation(
    cls,
    *,
    region: Literal["face", "frame"] = "face",
    crop_size: int = 256,
    **finding: Any,
  ) -> "Restorer":
    """Restores by what other frames show, carried by flow; needs no model.

    Args:
      region: "face", or "frame" for whole pictures, in which no face is needed.
      crop_size: side of the faces' crops, in pixels.
      finding: see `from_checkpoint`.

    Example:
      >>> restorer = Restorer.propagation(region="frame")
    """
    found = Finding.of(
      finding,
      size=crop_size,
      model=f"{pretrained.PREFIX}{pretrained.DEFAULT}",
      unnamed=occluder_name.usual(has_network=False),
    )
    filler = PropagationFiller(crop_size=crop_size)
    return cls(filler, found.recipe, region=region, occluder=found.network)

  @classmethod
  def from_checkpoint(
    cls,
    workdir: str | Place,
    overrides: Sequence[str] = (),
    *,
    region: Literal["face", "frame"] = "face",
    decoder: str | Path | None = None,
    **finding: Any,
  ) -> "Restorer":
    """Loads a model that `diffmvr_jax.train` wrote.

    Args:
      workdir: directory of the training run, or another name that
        `open_model` knows; it may lie in a bucket.
      overrides: settings of the sampling, such as `sampling.steps=10`.
      region: "face", or "frame": around the face, the occluder is taken out by
        propagation.
      decoder: file of a TAESD decoder, see `CropRestorer`.
      finding: the attributes `face`, `which_face`, `occluder`, `as_boxes`,
        `dilation`, `lookahead`, `looks`, `looks_every`, `models` and
        `flow_prior` of `data_prep.recipe.Recipe`. The occluder may also be
        "learned", the model's own network, or this and another, as
        "learned,mediapipe". If the model has such a network,
        "learned,mediapipe" is the default. The lookahead is 72 if it is not
        given.

    Raises:
      InputError: there is no finished checkpoint, or an override is wrong.
    """
    with copied(place(workdir)) as local:
      network = CropRestorer.from_checkpoint(local, overrides, decoder=decoder)
      filler = filler_of(network)
      in_face = region == "face"
      found = Finding.of(
        finding,
        size=filler.crop_size,
        model=local,
        unnamed=occluder_name.usual(network.has_occluder and in_face),
        # Where no frame waits there is no time to search flow in finer crops.
        live_flow_side=None if filler is network else network.crop_size,
      )
    return cls(filler, found.recipe, region=region, occluder=found.network)

  @classmethod
  def from_pretrained(
    cls,
    name: str = pretrained.DEFAULT,
    overrides: Sequence[str] = (),
    **finding: Any,
  ) -> "Restorer":
    """Loads a model that comes with the package.

    Args:
      name: name of the model; `docs/model_card.md` describes it.
      overrides: settings of the sampling.
      finding: see `from_checkpoint`.

    Raises:
      InputError: there is no such model, or an override is wrong.

    Example:
      >>> restorer = Restorer.from_pretrained()  # doctest: +SKIP
    """
    where = f"{pretrained.PREFIX}{name}"
    return cls.from_checkpoint(where, overrides, **finding)

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
      masks: (n, h, w), not 0 on the occlusion; None means that occlusions are
        searched for.
      fps: frames per second.
      options: seed and so on; None means the defaults.

    Returns:
      (n, h, w, 3) uint8.

    Raises:
      InputError: frames and masks do not fit, or a detector's model is missing.
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
      frames: images of shape (h, w, 3), uint8. They are not to be written to
        while they wait.
      masks: masks of shape (h, w), one for each frame; None means that
        occlusions are searched for.
      fps: frames per second.
      options: None means the defaults. The recipe's `lookahead` adds to the
        latency; if it is above 0, a detector that may overlook something adds
        two more frames.

    Yields:
      (h, w, 3) uint8, for every frame in order.
    """
    from data_prep.sources import array_clip

    clip = array_clip(frames, Fraction(fps))
    for done in self._restored(clip, 1 / clip.fps, options, masks):
      yield done.image

  def observe(
    self,
    frames: Iterable[TimedFrame],
    time_base: Fraction,
    *,
    fps: float = 25.0,
    pace: Pace | None = None,
  ) -> Iterator[SourceFrame]:
    """Finds the face of each frame, what covers it, and what is known of it.

    This is the first half of `stream`, and `fill` is the second one, so that
    both can work at the same time. It has threads of its own.

    Args:
      frames: frames of one size, as they come.
      time_base: seconds per unit of their timestamps.
      fps: frames per second.
      pace: what `pace` returned, if it is told how late frames are; None means
        a steady one.

    Yields:
      Every frame, in order.

    Raises:
      InputError: a detector's model is missing.
    """
    return self._finding.filmed(frames, time_base, fps=fps, pace=pace)

  def pace(self) -> Pace:
    """Returns what lets `observe` keep up with one live stream."""
    return self._finding.pace()

  def fill(
    self,
    observed: Iterable[SourceFrame],
    options: StreamOptions | None = None,
  ) -> Iterator[RestoredFrame]:
    """Restores what `observe` yields.

    Args:
      observed: frames in order.
      options: None means the defaults.

    Yields:
      Every frame, in order.
    """
    return restore_stream(self._filler, observed, options)

  def get_ready(self) -> None:
    """Does what would make the first frames of a stream wait.

    The detectors are opened once, and what `fill` needs for single frames is
    compiled.

    Raises:
      InputError: a detector's model is missing or damaged.
    """
    self._recipe.check_detectors([Path("stream")])
    if self._finding.network is not None:
      self._finding.network.compile()
    record = blank_record(self._filler.crop_size)
    blank = SourceFrame(record.image, 0, record)
    for _ in self.fill([blank], StreamOptions(latency=0)):
      pass

  def video(
    self,
    source: Source,
    out: str | Path,
    *,
    options: StreamOptions | None = None,
    lossless: bool = False,
    previews: PreviewPaths | None = None,
    on_frame: Callable[[], object] | None = None,
  ) -> Outcome:
    """Restores a video file, or whatever else `open_source` opens.

    Args:
      source: the video; its frames can be read once.
      out: the file to write, or another name that `open_sink` knows.
      options: None means the defaults.
      lossless: whether to encode without loss.
      previews: previews to write; None means none.
      on_frame: is called after each frame; None means that a progress bar is
        shown.

    Raises:
      InputError: the video cannot be used, no frame has a face, or there is no
        such preview. Then nothing is written.
    """
    from data_prep.sources import source_clip

    options, in_face = options or StreamOptions(), self._region == "face"
    if in_face or not self._only_propagates:
      self._recipe.check_detectors([Path(source.name)])
    else:
      self._recipe.check_occluder()
      if previews is not None and previews.guidance is not None:
        raise InputError("--guidance-out shows crops of faces: --region face")
    time_base = source.info.time_base
    # Closed at once after an error, and the detectors with it.
    with closing(
      self._restored(source_clip(source), time_base, options)
    ) as restored:
      return write_restored(
        source,
        restored,
        out,
        comment=provenance(self._filler, options, self._region),
        crop_size=self._filler.crop_size,
        needs_face=in_face,
        lossless=lossless,
        previews=previews,
        on_frame=on_frame,
      )

  def settings(self, options: StreamOptions) -> dict[str, Any]:
    """Everything that a result depends on besides its video, as JSON holds it.

    Files that are named, such as weights of a detector, stand by their names.
    """
    return json.loads(provenance(self._filler, options, self._region)) | {
      "recipe": dataclasses.asdict(self._recipe) | {"models": None}
    }

  def _restored(
    self,
    clip: "Clip",
    time_base: Fraction,
    options: StreamOptions | None,
    masks: Iterable[np.ndarray] | None = None,
  ) -> Generator[RestoredFrame, None, None]:
    options = options or StreamOptions()
    if self._region == "face":
      frames = self._finding.frames(clip, time_base, masks)
      return restore_stream(self._filler, frames, options)
    # The masks are as they should be already.
    given = self._finding.with_recipe(dilation=0, as_boxes=False)
    faces = Faces(
      observe=lambda clip, masks: given.frames(clip, time_base, masks),
      fill=lambda frames: restore_stream(self._filler, frames, options),
    )
    return whole_frames(
      self._recipe,
      clip,
      time_base,
      options,
      masks=masks,
      faces=None if self._only_propagates else faces,
    )

  @property
  def _recipe(self) -> "Recipe":
    return self._finding.recipe

  @property
  def _only_propagates(self) -> bool:
    return isinstance(self._filler, PropagationFiller)
