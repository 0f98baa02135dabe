"""Files: checksums, atomic writes."""

import hashlib
from pathlib import Path


def sha256(path: str | Path) -> str:
  """Hex digest of a file."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
  """Writes a text file so that a reader sees all of it or none."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text)
  partial.replace(path)
