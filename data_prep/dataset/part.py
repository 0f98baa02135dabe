"""Writes one video's part of a data set: its records and its statistics."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from data_prep.prepare import SkippedFrame
from data_prep.recipe import Recipe
from data_prep.sources import VideoSource
from diffmvr_jax.buckets import Place, uploaded
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.data.records import ShardWriter
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import read_json, write_atomically


@dataclass(kw_only=True)
class VideoStatistics:
  """Counts of one video's frames.

  Attributes:
    video_id: name of the part.
    source: path of the video.
    sha256: checksum of the video.
    fps: exact frame rate, as a fraction.
    frames: number of frames.
    exported: number of frames with a record.
    occluded: number of frames with an occlusion.
    occlusion: mean share of the crop that is covered in these.
    symmetric_valid: number of occluded frames with a symmetric image.
    past_valid: number of occluded frames with a past frame.
    skipped: runs of frames without a record: first, last, reason.
  """

  video_id: str
  source: str
  sha256: str = ""
  fps: str = ""
  frames: int = 0
  exported: int = 0
  occluded: int = 0
  occlusion: float = 0.0
  symmetric_valid: int = 0
  past_valid: int = 0
  skipped: list[tuple[int, int, str]] = field(default_factory=list)

  def add(self, item: FrameRecord | SkippedFrame) -> None:
    """Counts a frame."""
    self.frames += 1
    if isinstance(item, SkippedFrame):
      self._skip(item.frame_index, item.reason)
      return
    self.sha256, self.fps = item.source_sha256, str(item.fps)
    self.exported += 1
    if item.mask.any():
      share = float(item.mask.mean())
      self.occlusion += (share - self.occlusion) / (self.occluded + 1)
      self.occluded += 1
      self.symmetric_valid += item.symmetric_valid
      self.past_valid += item.past_index >= 0

  def _skip(self, index: int, reason: str) -> None:
    if self.skipped and self.skipped[-1][1:] == (index - 1, reason):
      self.skipped[-1] = (self.skipped[-1][0], index, reason)
    else:
      self.skipped.append((index, index, reason))


def read_statistics(part: Path) -> dict[str, Any]:
  """Reads the statistics of a part.

  Raises:
    InputError: they are lost or damaged.
  """
  path = part.with_suffix(".json")
  advice = f"delete {part.name} and run the command again"
  content = read_json(path, advice)
  known = {field.name for field in fields(VideoStatistics)}
  if content.keys() != known or type(content["frames"]) is not int:
    raise InputError(f"{path}: damaged (other keys); {advice}")
  return content


def write_part(
  source: VideoSource,
  part: Place,
  recipe: Recipe,
  after_frame: Callable[[], object],
) -> str:
  """Prepares one video and writes its records and statistics.

  Args:
    source: the video.
    part: the shard to write, on a disk or in a bucket; the statistics get the
      suffix `.json`.
    recipe: how the video is prepared.
    after_frame: is called after every frame.

  Returns:
    What is wrong with the video; empty if it was written.

  Raises:
    OSError: the disk does not take it.
  """
  try:
    # The shard appears after its statistics, so it never lacks them.
    with uploaded(part.parent, last=part.name) as folder:
      folder.mkdir(exist_ok=True)
      _write(source, folder / part.name, recipe, after_frame)
  except InputError as error:
    return str(error).removeprefix(f"{source}: ")
  return ""


def _write(
  source: VideoSource,
  part: Path,
  recipe: Recipe,
  after_frame: Callable[[], object],
) -> None:
  statistics = VideoStatistics(video_id=part.stem, source=str(source))
  # Closed at once after an error, and its detectors with it.
  with closing(recipe.records(source)) as items, ShardWriter(part) as writer:
    for item in items:
      statistics.add(item)
      if isinstance(item, FrameRecord):
        writer.write(item)
      after_frame()
    if not statistics.exported:
      raise InputError(
        f"{source}: no face in any of its {statistics.frames} frames"
      )
    write_atomically(part.with_suffix(".json"), json.dumps(asdict(statistics)))
