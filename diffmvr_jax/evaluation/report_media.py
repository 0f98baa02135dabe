"""The video, the sheet and the players of an evaluation's report."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from diffmvr_jax.data.windows import Window
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluation.report import player
from diffmvr_jax.files import replacing, writing
from diffmvr_jax.media.contact_sheet import contact_sheet
from diffmvr_jax.media.video import TimedFrame, VideoInfo
from diffmvr_jax.media.video_writer import VideoWriter

PLAYERS = 4  # clips on the page
# Arrays of a clip that are shown.
SHOWN = ("frame", "mask", "symmetric", "past", "target")
_PLAYED = 150  # frames of each of them
_COLUMNS = 10  # of the sheet
_PER_CLIP = 3  # frames of a clip that are candidates for the sheet
_COVERED = 0.03  # of a frame has to be, if it is to be on the sheet
_TILE = 256  # pixels in the video; smaller crops are enlarged


class ReportMedia:
  """Collects players and frames, and writes the video as clips come.

  Args:
    model: name of the method that sheet and video show.
    path: file for the video: input, restored and target side by side.

  Attributes:
    players: the first clips, as `report.player` makes them.
  """

  def __init__(self, model: str, path: Path):
    self._model, self._path = model, path
    self._writer: VideoWriter | None = None
    self._pts = 0
    self._frames: list[dict[str, np.ndarray]] = []
    self.players: list[dict[str, Any]] = []

  def __enter__(self) -> "ReportMedia":
    return self

  def __exit__(self, *exception) -> None:
    if self._writer is not None:
      self._writer.__exit__(*exception)

  def add_clip(
    self, name: str, clip: Window, restored: Mapping[str, np.ndarray]
  ) -> None:
    """Takes a clip and what each method made of it.

    Args:
      name: name of the clip.
      clip: the arrays `SHOWN`.
      restored: restored frames of the model, and for the first `PLAYERS` clips
        those of all methods.
    """
    if len(self.players) < PLAYERS:
      start = {key: value[:_PLAYED] for key, value in clip.items()}
      made = {key: value[:_PLAYED] for key, value in restored.items()}
      self.players.append(player(name, start, made))
    self._collect_for_sheet(clip, restored[self._model])
    self._write_video(clip, restored[self._model])

  def write_sheet(self, path: Path) -> None:
    """Draws the contact sheet of occluded frames spread over the clips.

    Raises:
      InputError: nothing is covered enough.
    """
    count = min(_COLUMNS, len(self._frames))
    if not count:
      raise InputError("no clip has a frame with more than 3 % occluded")
    chosen = np.linspace(0, len(self._frames) - 1, count).astype(int)
    columns = [self._frames[i] for i in chosen]
    rows = {label: [c[label] for c in columns] for label in columns[0]}
    with writing(path), replacing(path, keeps_suffix=True) as partial:
      contact_sheet(rows).save(partial)

  def _collect_for_sheet(self, clip: Window, restored: np.ndarray) -> None:
    covered = np.flatnonzero(clip["mask"].mean((1, 2, 3)) > _COVERED)
    count = min(_PER_CLIP, len(covered))
    # Not the first ones and the last ones, in which little is covered.
    for k in (np.arange(count) + 0.5) / max(count, 1):
      i = int(covered[int(k * len(covered))])
      self._frames.append(
        {
          "input": clip["frame"][i],
          "mask": clip["mask"][i] * np.uint8(255),
          "symmetric": clip["symmetric"][i],
          "past": clip["past"][i],
          "restored": restored[i],
          "target": clip["target"][i],
        }
      )

  def _write_video(self, clip: Window, restored: np.ndarray) -> None:
    size = clip["frame"].shape[1]
    zoom = max(1, _TILE // size)
    if self._writer is None:
      info = VideoInfo(
        width=3 * size * zoom,
        height=size * zoom,
        fps=Fraction(25),
        time_base=Fraction(1, 25),
        has_audio=False,
      )
      self._writer = VideoWriter(self._path, info).__enter__()
    for triple in zip(clip["frame"], restored, clip["target"], strict=True):
      row = np.concatenate(triple, axis=1)
      row = row.repeat(zoom, axis=0).repeat(zoom, axis=1)
      self._writer.write(TimedFrame(row, self._pts))
      self._pts += 1
