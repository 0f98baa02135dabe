"""Restores and measures the clips of a data set."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import Window, read_frames
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluation.video_pairs import find_video, read_video
from diffmvr_jax.metrics.accumulators import Tally
from diffmvr_jax.metrics.clip_metrics import ClipMeter, Instruments

# A clip's name, and its arrays, named as in the data contract -> (n, h, w, 3)
# uint8.
Method = Callable[[str, Window], np.ndarray]
Shown = Callable[[str, Window, Mapping[str, np.ndarray]], None]


def of_arrays(restore: Callable[[Window], np.ndarray]) -> Method:
  """A method that does not look at names."""
  return lambda name, clip: restore(clip)


def from_folder(folder: Path) -> Method:
  """What another method made of the clips.

  Args:
    folder: with a video, or a folder of pictures, for every clip, of its name.
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
  instruments: Instruments,
  *,
  part: slice = slice(None),
  show: Shown | None = None,
) -> dict[str, dict[str, Tally]]:
  """Measures methods of restoration on every clip.

  Args:
    methods: by name; `Tally`s do not depend on which others there are.
    records: the clips, with their truth.
    instruments: metrics that need networks.
    part: of the videos, for one of several processes.
    show: gets every clip's name, the clip, and what each method made of it.

  Returns:
    By method, and by video.

  Raises:
    InputError: records without targets.
  """
  tallies: dict[str, dict[str, Tally]] = {name: {} for name in methods}
  videos = list(records.videos())[part]
  for video_id, positions in tqdm(
    videos, desc="restore", unit="video", file=sys.stderr
  ):
    clip = read_frames(records, list(positions))
    if "target" not in clip:
      raise InputError(
        f"{records.shards[0].parent}: records without a target cannot be scored"
      )
    restored = {
      name: method(video_id, clip) for name, method in methods.items()
    }
    for name, frames in restored.items():
      meter = ClipMeter(instruments)
      meter.see(frames, clip["target"], clip["mask"])
      tallies[name][video_id] = meter.tally
    if show is not None:
      show(video_id, clip, restored)
  return tallies
