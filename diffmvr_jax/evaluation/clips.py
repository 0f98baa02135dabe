"""Restores the clips of a data set with several methods, and measures them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from diffmvr_jax.buckets import Place, copied, is_file
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import (
  PROPAGATED,
  SOURCES,
  Window,
  read_frames,
  stored_arrays,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluation.video_pairs import find_videos, read_video
from diffmvr_jax.metrics.accumulators import Measurements
from diffmvr_jax.metrics.clip_metrics import MetricNetworks, measure_methods

# A clip's name, and its arrays, named as in the data contract -> (n, h, w, 3)
# uint8.
Method = Callable[[str, Window], np.ndarray]


def from_function(restore: Callable[[Window], np.ndarray]) -> Method:
  """The method that a function of a clip's arrays is."""
  return lambda name, clip: restore(clip)


def from_folder(folder: Place) -> Method:
  """The method whose restored clips lie in a folder.

  Args:
    folder: folder with a video, or a folder of pictures, for every clip, named
      as the clip is.
  """

  def read(name: str, clip: Window) -> np.ndarray:
    path = find_videos(folder, [name])[name]
    restored = read_video(path)
    if restored.shape != clip["frame"].shape:
      raise InputError(
        f"{path}: {restored.shape[:3]} frames × height × width, the clip has "
        f"{clip['frame'].shape[:3]}"
      )
    return restored

  return read


def protocol_of(folder: Place) -> str:
  """What a folder's PROTOCOL.txt says of how it was made; perhaps nothing."""
  note = folder / "PROTOCOL.txt"
  if not is_file(note):
    return ""
  with copied(note) as copy:
    return copy.read_text("utf-8", errors="backslashreplace").strip()


def evaluate_clips(
  methods: Mapping[str, Method],
  records: RecordSource,
  networks: MetricNetworks,
  *,
  arrays: Collection[str] = (*PROPAGATED, *SOURCES),
  part: slice = slice(None),
  against_original: bool = False,
) -> dict[str, dict[str, Measurements]]:
  """Measures methods of restoration on every clip.

  Args:
    methods: methods by name; what one measures does not depend on the others.
    records: the clips, with their truth.
    networks: networks of metrics.
    arrays: which arrays of aligned guidance the methods get, if the records
      hold them.
    part: which of the videos, for one of several processes.
    against_original: whether the covered frame itself counts as the truth, as
      in the paper, where records have no target.

  Returns:
    Measurements by method and video.

  Raises:
    InputError: the records have no targets.
  """
  measurements: dict[str, dict[str, Measurements]] = {n: {} for n in methods}
  videos = list(records.videos())[part]
  for video in progress_bar(videos, desc="restore", unit="video"):
    measured = measure_clip(
      video,
      methods,
      records,
      networks,
      arrays=arrays,
      against_original=against_original,
    )
    for name, of_method in measured.measurements.items():
      measurements[name][measured.name] = of_method
  return measurements


@dataclass(frozen=True, kw_only=True)
class MeasuredClip:
  """A clip, what methods made of it, and how good that is.

  Attributes:
    name: name of the clip.
    clip: its arrays, with `target`.
    restored: (n, h, w, 3) uint8, by method.
    measurements: by method.
  """

  name: str
  clip: Window
  restored: Mapping[str, np.ndarray]
  measurements: Mapping[str, Measurements]


def measure_clip(
  video: tuple[str, range],
  methods: Mapping[str, Method],
  records: RecordSource,
  networks: MetricNetworks,
  *,
  arrays: Collection[str],
  against_original: bool,
) -> MeasuredClip:
  """Restores one clip with each method, and measures that.

  Args:
    video: a clip's name and positions, as `RecordSource.videos` yields it.
    methods: methods by name.
    records: the clips, with their truth.
    networks: networks of metrics.
    arrays: see `evaluate_clips`.
    against_original: see `evaluate_clips`.

  Raises:
    InputError: the records have no targets.
  """
  name, positions = video
  stored = stored_arrays(records, positions[0])
  clip = read_frames(
    records, list(positions), [name for name in arrays if name in stored]
  )
  if "target" not in clip:
    if not against_original:
      raise InputError(
        f"{records.shards[0].parent}: records without a target cannot be "
        "scored; --against-original compares with the covered frame itself, "
        "as the paper does"
      )
    clip["target"] = clip["frame"]
  restored = {n: method(name, clip) for n, method in methods.items()}
  return MeasuredClip(
    name=name,
    clip=clip,
    restored=restored,
    measurements=measure_methods(
      restored, clip["target"], clip["mask"], networks
    ),
  )
