"""Encoded frames: what frozen encoders made of a data set, read by rows.

A folder of NumPy arrays, float16, a row per frame of the split `train`:

  mean, deviation, masked_latents   scaled latents, (frame, i, j, l)
  mask                              at the latents' resolution, uint8
  BRANCH.clip, BRANCH.latents       what f_mlp takes of a guidance image
  past_row                          the row of `past.*` that a frame needs

`past.*` has a row per frame that is the past frame of others, so that each is
encoded once. `encoded.json` is written last; it says what the arrays were made
from.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import Window, WindowSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import (
  make_folder,
  read_json,
  write_atomically,
  writing,
)

_DESCRIPTION = "encoded.json"


class EncodedWriter:
  """Fills a folder of arrays, row by row.

  Example:
    >>> with EncodedWriter(Path("encoded")) as writer:  # doctest: +SKIP
    ...   writer.write("mean", 0, rows, total=1000)
    ...   writer.describe({"records": ...})
  """

  def __init__(self, folder: Path):
    self._folder = folder
    self._arrays: dict[str, np.memmap] = {}
    self._begun: list[str] = []
    self._had_folder = folder.exists()

  def __enter__(self) -> "EncodedWriter":
    make_folder(self._folder)
    (self._folder / _DESCRIPTION).unlink(missing_ok=True)
    return self

  def __exit__(self, kind, value, traceback) -> None:
    if kind is None:
      return
    for name in self._begun:
      self._path(name).unlink(missing_ok=True)
    if not self._had_folder and not any(self._folder.iterdir()):
      self._folder.rmdir()

  def _path(self, name: str) -> Path:
    return self._folder / f"{name}.npy"

  def write(self, name: str, start: int, rows: np.ndarray, total: int) -> None:
    """Writes rows from `start` on into an array that will have `total` rows."""
    if name not in self._arrays:
      path = self._path(name)
      self._begun.append(name)
      with writing(path):
        self._arrays[name] = np.lib.format.open_memmap(
          path, "w+", dtype=rows.dtype, shape=(total, *rows.shape[1:])
        )
        _reserve(path)
    self._arrays[name][start : start + len(rows)] = rows

  def describe(self, made_from: Mapping[str, Any]) -> None:
    """Declares the folder complete; `EncodedWindows` compares `made_from`."""
    for array in self._arrays.values():
      array.flush()
    write_atomically(
      self._folder / _DESCRIPTION, json.dumps(dict(made_from), indent=2)
    )


class EncodedWindows:
  """The windows of a `WindowSource`, read from encoded rows.

  Args:
    windows: says which frames a window has.
    records: records that `windows` reads.
    folder: folder of the encoded frames.

  Raises:
    InputError: the folder is not complete, or it is of other records.
  """

  def __init__(
    self, windows: WindowSource, records: RecordSource, folder: Path
  ):
    self._windows = windows
    path = folder / _DESCRIPTION
    if not path.is_file():
      raise InputError(
        f"{folder}: not a finished encoding; write it with "
        "`python -m diffmvr_jax.encode`"
      )
    made_from = read_json(path, "encode the records again")
    self.folder, self.encoders = folder, made_from.get("encoders")
    if made_from.get("records") != describe_records(records):
      raise InputError(
        f"{folder}: made from other records than "
        f"{records.shards[0].parent}; encode these"
      )
    self._arrays = {file.stem: _rows(file) for file in folder.glob("*.npy")}

  def __len__(self) -> int:
    return len(self._windows)

  def read(self, indices: Sequence[int], flips: Sequence[bool]) -> Window:
    """Arrays (window, frame, …) by name, and `window_id`.

    Args:
      indices: numbers of the windows.
      flips: all False, because latents of a mirrored image are not mirrored
        latents.
    """
    assert not any(flips)
    positions = np.stack([self._windows.positions(i) for i in indices])
    past = self._arrays["past_row"][positions]
    batch = {
      # Any row will do if there is no past frame: it is masked out.
      name: array[
        np.maximum(past, 0) if name.startswith("past.") else positions
      ]
      for name, array in self._arrays.items()
      if name != "past_row"
    }
    batch["past_valid"] = past >= 0
    batch["window_id"] = positions[:, 0]
    return batch


def _reserve(path: Path) -> None:
  """Takes the disk space of a mapped file now.

  If the disk were full later, the system would end the process.
  """
  if hasattr(os, "posix_fallocate"):
    with path.open("r+b") as file:
      os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _rows(file: Path) -> np.ndarray:
  try:
    return np.load(file, mmap_mode="r")
  except (OSError, ValueError, EOFError) as error:
    reason = " ".join(str(error).split())
    raise InputError(f"{file}: damaged ({reason}); encode again") from error


def past_rows(records: RecordSource) -> tuple[list[int], np.ndarray]:
  """Positions of all past frames, and each frame's row among them, or −1."""
  row_of_past: dict[int, int] = {}
  row_of_frame = np.full(len(records), -1, np.int32)
  for i in range(len(records)):
    past = records.past_position(i)
    if past is not None:
      row_of_frame[i] = row_of_past.setdefault(past, len(row_of_past))
  return list(row_of_past), row_of_frame


def describe_records(records: RecordSource) -> dict[str, Any]:
  """Enough to notice that records were exported anew."""
  return {
    "frames": len(records),
    "shards": [shard.name for shard in records.shards],
    "bytes": records.sizes,
  }
