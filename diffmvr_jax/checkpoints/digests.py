"""SHA-256 of every file of a checkpoint, so that damage is seen before a load.

Orbax notices a file that is cut short, but not every flipped bit.
"""

import json
from pathlib import Path

from diffmvr_jax.files import sha256, write_atomically

_NAME = "digests.json"
_PENDING = ".orbax-checkpoint-tmp"
_REWRITTEN = "_CHECKPOINT_METADATA"  # by Orbax, when it commits


class DamagedError(ValueError):
  """A file of a checkpoint is not what was written."""


def write_missing_digests(folder: Path) -> None:
  """Writes the digests of every checkpoint in `folder` that has none yet.

  It is called after Orbax has written all files and before it renames the
  step's folder, so that a finished checkpoint always has digests.
  """
  for step in folder.iterdir():
    number = step.name.partition(_PENDING)[0]
    if number.isdigit() and not (step / _NAME).exists():
      digests = {
        path.relative_to(step).as_posix(): sha256(path)
        for path in sorted(step.rglob("*"))
        if path.is_file() and path.name != _REWRITTEN
      }
      write_atomically(step / _NAME, json.dumps(digests, indent=1))


def verify(step: Path) -> None:
  """Compares the files of a finished checkpoint with their digests.

  A checkpoint without digests, which an older version wrote, passes.

  Raises:
    DamagedError: naming the first file that is lost or changed.
  """
  if not (step / _NAME).exists():
    return
  try:
    digests = json.loads((step / _NAME).read_text())
  except ValueError as error:
    raise DamagedError(f"{_NAME} is not JSON") from error
  for name, digest in digests.items():
    if not (step / name).is_file():
      raise DamagedError(f"{name} is lost")
    if sha256(step / name) != digest:
      raise DamagedError(f"{name} has changed since it was written")


def identity(step: Path) -> str | None:
  """One SHA-256 for all of a checkpoint; None if it has no digests."""
  return sha256(step / _NAME) if (step / _NAME).exists() else None
