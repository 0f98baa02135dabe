"""Checks a data set: counts, sizes, every checksum, and a contact sheet."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.dataset.splits import SPLITS
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import replacing, writing
from diffmvr_jax.media.contact_sheet import contact_sheet

_COLUMNS = 8


def inspect(folder: Path) -> int:
  """Prints a table, verifies every record, writes `sheet-SPLIT.png` files.

  Args:
    folder: folder of a data set.

  Returns:
    The number of damaged records.

  Raises:
    InputError: there is no data set in the folder.
  """
  splits = [s for s in SPLITS if any(folder.glob(f"diffmvr-{s}.tfrecord-*"))]
  if not splits:
    raise InputError(f"{folder}: no records here")
  damaged = 0
  print(
    f"{'split':<12}{'videos':>8}{'frames':>9}{'occluded':>10}"
    f"{'past':>7}{'symmetric':>11}{'MB':>9}  size, frames/s"
  )
  for split in splits:
    source = RecordSource(folder, split)
    errors, summary = _read_all(source, split)
    damaged += len(errors)
    print(summary)
    for error in errors:
      print(f"  {error}")
    sheet = _sheet(source)
    if sheet is not None:
      path = folder / f"sheet-{split}.png"
      with writing(path), replacing(path, keeps_suffix=True) as partial:
        sheet.save(partial)
      print(f"  {path}")
  return damaged


def _read_all(source: RecordSource, split: str) -> tuple[list[str], str]:
  """Reads every record; returns errors and a line of the table."""
  errors: list[str] = []
  formats: Counter[str] = Counter()
  occluded = past = symmetric = 0
  for i in progress_bar(
    range(len(source)), desc=split, unit="frame", leave=False
  ):
    try:
      record = source[i]
    except InputError as error:
      errors.append(str(error))
      continue
    side = len(record.image)
    formats[f"{side} px, {float(record.fps):.2f}"] += 1
    error = _inconsistency(record, source, i)
    if error:
      errors.append(f"{record.video_id}: frame {record.frame_index}: {error}")
    if record.mask.any():
      occluded += 1
      past += record.past_index >= 0
      symmetric += record.symmetric_valid
  videos = sum(1 for _ in source.videos())
  size = sum(source.sizes) / 1e6
  share = max(occluded, 1)
  line = (
    f"{split:<12}{videos:>8}{len(source):>9}{occluded / len(source):>10.1%}"
    f"{past / share:>7.0%}{symmetric / share:>11.0%}{size:>9.1f}  "
  )
  return errors, line + "; ".join(sorted(formats))


def _inconsistency(record: FrameRecord, source: RecordSource, i: int) -> str:
  """Returns what is wrong with a record that can be read; empty if nothing."""
  index = source.index
  told = index.video_id[i], index.frame_index[i], index.past_index[i]
  if told != (record.video_id, record.frame_index, record.past_index):
    return "its index says something else; export it again"
  if record.past_index >= record.frame_index:
    return f"its past frame {record.past_index} is not in the past"
  if record.past_index >= 0:
    try:
      source.position(record.video_id, record.past_index)
    except InputError:
      return f"its past frame {record.past_index} is missing"
  return ""


def _sheet(source: RecordSource) -> Image.Image | None:
  """Draws occluded frames, spread over the videos, with their guidance.

  Returns:
    The sheet; None if no record can be read.
  """
  occlusion = np.asarray(source.index.occlusion)
  candidates = np.flatnonzero(occlusion > 0)
  if not len(candidates):
    candidates = np.arange(len(source))
  spread = np.linspace(0, len(candidates) - 1, min(_COLUMNS, len(candidates)))
  rows: dict[str, list[np.ndarray]] = {}
  for i in candidates[spread.round().astype(int)]:
    try:
      record = source[int(i)]
      past = np.zeros_like(record.image)
      if record.past_index >= 0:
        position = source.position(record.video_id, record.past_index)
        past = source[position].image
    except InputError:
      continue  # the table lists it already
    tiles = {
      "frame": record.image,
      "mask": record.mask[..., None] * np.uint8(255),
      "symmetric": record.symmetric,
      "past": past,
    }
    if record.target is not None:
      tiles["target"] = record.target
    for name, tile in tiles.items():
      rows.setdefault(name, []).append(tile)
  return contact_sheet(rows) if rows else None
