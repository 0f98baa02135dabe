"""Which videos are trained on: by subject, never by frame."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from diffmvr_jax.errors import InputError

SPLITS = ("train", "validation", "test")


def read_subjects(path: Path) -> dict[str, tuple[str, str | None]]:
  """Reads a subject table.

  It is a CSV with the columns video, subject and, if need be, split.

  Args:
    path: its `video` column has file names, with or without suffix.

  Returns:
    By video: the subject, and the split where the table gives one.

  Raises:
    InputError: no such file; a column is missing; an unknown split; a subject
      in two splits.
  """
  try:
    rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise InputError(f"{path}: not a readable CSV ({error})") from error
  table: dict[str, tuple[str, str | None]] = {}
  splits: dict[str, str | None] = {}
  for line, row in enumerate(rows, 2):
    video, subject = row.get("video"), row.get("subject")
    if not video or not subject:
      raise InputError(f"{path}:{line}: needs the columns video and subject")
    split = row.get("split") or None
    if split not in (None, *SPLITS):
      raise InputError(
        f"{path}:{line}: split {split!r} is none of {', '.join(SPLITS)}"
      )
    if splits.setdefault(subject, split) != split:
      raise InputError(f"{path}:{line}: {subject} is in another split before")
    table[Path(video).stem] = (subject, split)
  return table


def assign(
  videos: Iterable[str],
  subjects: Mapping[str, tuple[str, str | None]],
  *,
  validation_share: float,
  test_share: float,
  seed: int,
) -> dict[str, str]:
  """Gives every video a split; all videos of a subject get the same.

  Subjects are taken in an order that depends on the seed and their own name
  alone.

  Args:
    videos: their ids.
    subjects: as `read_subjects` gives it; a video that it lacks is a subject
      of its own.
    validation_share: share of the subjects; at least one if it is not 0.
    test_share: likewise.
    seed: of the order.

  Example:
    >>> assign(["a", "b"], {}, validation_share=0, test_share=0.5, seed=0)
    {'a': 'train', 'b': 'test'}
  """
  subject_of = {v: subjects.get(v, (v, None)) for v in videos}
  fixed = {name: split for name, split in subject_of.values() if split}
  free = sorted(
    {name for name, split in subject_of.values() if not split},
    key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest(),
  )
  total = len(free)
  for split, share in (("test", test_share), ("validation", validation_share)):
    count = max(1, round(share * total)) if share else 0
    # Something has to be left to train on.
    for name in free[: min(count, len(free) - 1)]:
      fixed[name] = split
      free.remove(name)
  return {v: fixed.get(name, "train") for v, (name, _) in subject_of.items()}
