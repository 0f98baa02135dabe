"""Finds the face of each frame, what covers it, and what is known of it."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.inference import occluder_name
from diffmvr_jax.inference.occluder import OccluderNetwork
from diffmvr_jax.inference.stream import SourceFrame
from diffmvr_jax.media.pace import Pace
from diffmvr_jax.media.video import TimedFrame

if TYPE_CHECKING:
  from data_prep.clip import Clip
  from data_prep.recipe import Recipe

# Share of the frame's longer side by which masks of detectors grow, which miss
# fingertips and the edges of what moves. What was seen fills the surplus too.
_GROWTH = 1 / 60
# Frames that a frame of a recording waits for. Twelve of them steady the crop,
# and the others may show what is covered now.
LOOKAHEAD = 72
# What `Restorer.from_checkpoint` is to be given for frames as they are filmed:
# none waits, no time is spent on more than two looks back, and the network
# fills every other frame, or fewer if there is no time.
LIVE = {"lookahead": 0, "looks": 2, "looks_every": 2}
_RAREST = 4  # frames of which the network fills one, where time is short


@dataclass(frozen=True)
class Finding:
  """How faces are found, and what covers them.

  Attributes:
    recipe: says how.
    network: finds what covers a face in its crop, beside the recipe's detector
      if it has one; None means that this alone does.
  """

  recipe: "Recipe"
  network: OccluderNetwork | None = None

  @classmethod
  def of(
    cls,
    options: Mapping[str, Any],
    *,
    size: int,
    model: str | Path,
    unnamed: occluder_name.Occluder,
    live_flow_side: int | None = None,
  ) -> "Finding":
    """Makes it of what a caller has chosen.

    Args:
      options: attributes of `Recipe` by name, but `occluder` is what
        `occluder_name.named` reads.
      size: side of the crops, in pixels.
      model: where the learned occluder's network is, as `open_model` takes it.
      unnamed: who finds occluders if the options name nobody.
      live_flow_side: the recipe's `flow_side` if no frame waits.

    Raises:
      InputError: the model has no such network.
    """
    from data_prep.recipe import Recipe

    chosen: dict[str, Any] = {"lookahead": LOOKAHEAD, **options}
    if chosen["lookahead"] == 0:
      chosen.setdefault("flow_side", live_flow_side)
    name = chosen.pop("occluder", None)
    who = occluder_name.named(name) if name else unnamed
    recipe = Recipe(size=size, growth=_GROWTH, occluder=who.detector, **chosen)
    network = OccluderNetwork.from_checkpoint(model) if who.learned else None
    return cls(recipe, network)

  def frames(
    self,
    clip: "Clip",
    time_base: Fraction,
    masks: Iterable[np.ndarray] | None = None,
    pace: Pace | None = None,
  ) -> Iterator[SourceFrame]:
    """Looks at the frames of a clip.

    Args:
      clip: the video.
      time_base: seconds per unit of the timestamps of what is yielded.
      masks: masks of shape (h, w), one for each frame; None means that what
        covers the face is searched for.
      pace: see `Restorer.observe`.

    Yields:
      Every frame, in order.

    Raises:
      InputError: the video or a detector cannot be used.
    """
    occluder = None if self.network is None else self.network.start()
    found = self.recipe.frames_and_records(clip, masks, occluder, pace)
    for frame, item in found:
      record = item if isinstance(item, FrameRecord) else None
      yield SourceFrame(frame.image, int(frame.time / time_base), record)

  def filmed(
    self,
    frames: Iterable[TimedFrame],
    time_base: Fraction,
    *,
    fps: float,
    pace: Pace | None,
  ) -> Iterator[SourceFrame]:
    """Looks at frames as they come, in threads of its own.

    The arguments, and what is yielded and raised, are those of
    `Restorer.observe`.
    """
    from data_prep.clip import Frame
    from data_prep.sources import array_clip

    def timed() -> Iterator[Frame]:
      for index, frame in enumerate(frames):
        yield Frame(frame.image, index, frame.pts * time_base)

    clip = dataclasses.replace(array_clip([], Fraction(fps)), frames=timed)
    return self.with_recipe(overlap=True).frames(clip, time_base, pace=pace)

  def pace(self) -> Pace:
    """Returns what lets `filmed` keep up with one live stream."""
    every = self.recipe.looks_every
    return Pace(every, most=None if every == 1 else _RAREST)

  def with_recipe(self, **changes: Any) -> "Finding":
    """Returns the same with other attributes of the recipe."""
    changed = dataclasses.replace(self.recipe, **changes)
    return dataclasses.replace(self, recipe=changed)
