"""What a file of weights, or a pipeline's folder, holds."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from diffmvr_jax.weights.files import open_tensors
from diffmvr_jax.weights.layouts import layout_of


def describe_weights(path: Path) -> Iterator[str]:
  """Says the layout and all tensors, a line at a time.

  Args:
    path: a file, a folder of one model, or a folder of a pipeline.

  Raises:
    InputError: it cannot be read.
  """
  if not (path / "model_index.json").is_file():
    yield from _describe_tensors(path)
    return
  folders = sorted(p.parent for p in path.glob("*/config.json"))
  yield f"{path}: a pipeline of {', '.join(p.name for p in folders)}"
  for folder in folders:
    yield from _describe_tensors(folder)


def _describe_tensors(path: Path) -> Iterator[str]:
  tensors = open_tensors(path)
  yield f"{path}: {layout_of(tensors) or 'unknown layout'}"
  rows: Sequence[tuple[str, str, str]] = [
    (name, tensor.dtype, "×".join(map(str, tensor.shape)) or "scalar")
    for name, tensor in tensors.items()
  ]
  widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
  for name, dtype, shape in rows:
    yield f"  {name:<{widths[0]}}  {dtype:<{widths[1]}}  {shape}"
  total = sum(tensor.size for tensor in tensors.values())
  yield f"  {len(tensors)} tensors, {total:,} values"
