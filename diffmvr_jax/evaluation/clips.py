"""Restores the clips of a data set with several methods, and measures them."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

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
from diffmvr_jax.evaluation.video_pairs import find_video, read_video
from diffmvr_jax.metrics.accumulators import Measurements
from diffmvr_jax.metrics.clip_metrics import ClipMetrics, MetricNetworks

# A clip's name, and its arrays, named as in the data contract -> (n, h, w, 3)
# uint8.
Method = Callable[[str, Window], np.ndarray]
# A clip's name, the clip, and what each method made of it.
OnClip = Callable[[str, Window, Mapping[str, np.ndarray]], None]


def from_function(restore: Callable[[Window], np.ndarray]) -> Method:
  """The method that a function of a clip's arrays is."""
  return lambda name, clip: restore(clip)


def from_folder(folder: Path) -> Method:
  """The method whose restored clips lie in a folder.

  Args:
    folder: folder with a video, or a folder of pictures, for every clip, named
      as the clip is.
  """

  def read(name: str, clip: Window) -> np.ndarray:
    path = find_video(folder, name)
    restored = read_video(path)
    if restored.shape != clip["frame"].shape:
      raise InputError(
        f"{path}: {restored.shape[:3]} frames × height × width, the clip has "
        f"{clip['frame'].shape[:3]}"
      )
    return restored

  return read


def evaluate_clips(
  methods: Mapping[str, Method],
  records: RecordSource,
  networks: MetricNetworks,
  *,
  arrays: Collection[str] = (*PROPAGATED, *SOURCES),
  part: slice = slice(None),
  against_original: bool = False,
  on_clip: OnClip | None = None,
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
    on_clip: is called with each clip, if given.

  Returns:
    Measurements by method and video.

  Raises:
    InputError: the records have no targets.
  """
  measurements: dict[str, dict[str, Measurements]] = {n: {} for n in methods}
  videos = list(records.videos())[part]
  for video_id, positions in progress_bar(videos, desc="restore", unit="video"):
    stored = stored_arrays(records, positions[0])
    wanted = [name for name in arrays if name in stored]
    clip = read_frames(records, list(positions), wanted)
    if "target" not in clip:
      if not against_original:
        raise InputError(
          f"{records.shards[0].parent}: records without a target cannot be "
          "scored; --against-original compares with the covered frame itself, "
          "as the paper does"
        )
      clip["target"] = clip["frame"]
    restored = {
      name: method(video_id, clip) for name, method in methods.items()
    }
    for name, frames in restored.items():
      metrics = ClipMetrics(networks)
      metrics.add_frames(frames, clip["target"], clip["mask"])
      measurements[name][video_id] = metrics.measurements
    if on_clip is not None:
      on_clip(video_id, clip, restored)
  return measurements
