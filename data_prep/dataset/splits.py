"""Divides videos into splits: by subject, never by frame."""

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import refuse_special

SPLITS = ("train", "validation", "test")


def read_subjects(path: Path) -> dict[str, tuple[str, str | None]]:
  """Reads a subject table.

  It is a CSV file with the columns video and subject, and perhaps split.

  Args:
    path: the file; its `video` column has names with or without suffix.

  Returns:
    For each video, its subject, and its split if the table gives one.

  Raises:
    InputError: there is no such file, a column is missing, a split is unknown,
      or a subject is in two splits.
  """
  refuse_special(path)
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


def subject_in(video: str, pattern: str | None) -> str | None:
  """Returns the subject that a pattern finds in a video's name, if it does.

  Example:
    >>> subject_in("S024_Pain_20s", r"^(S[0-9]+)_")
    'S024'
  """
  found = re.search(pattern, video) if pattern else None
  if found is None:
    return None
  return found[1] if found.re.groups else found[0]


def assign(
  videos: Iterable[str],
  subjects: Mapping[str, tuple[str, str | None]],
  *,
  validation_share: float,
  test_share: float,
  seed: int,
) -> dict[str, str]:
  """Gives every video a split, the same one to all videos of a subject.

  The order in which subjects are held out depends only on the seed and on
  their names.

  Args:
    videos: ids of the videos.
    subjects: what `read_subjects` returns; a video that is not in it is a
      subject of its own.
    validation_share: share of the subjects held out as `validation`; if it is
      not 0, at least one subject is.
    test_share: share of the subjects held out as `test`, likewise.
    seed: decides the order.

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
