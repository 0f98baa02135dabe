"""Files of named tensors, read and written one tensor at a time.

Reads safetensors (one file, or shards with an index) and PyTorch pickles,
the latter only through `torch.load(weights_only=True)`, which runs no code
that a file brings along.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from diffmvr_jax.command_line.bounds import FileName
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import read_json, refuse_special, replacing, writing

_PICKLES = (".ckpt", ".pth", ".pt", ".bin")
_FLOATS = {
  "F64": np.dtype(np.float64),
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}


@dataclass(frozen=True, kw_only=True)
class Tensor:
  """A tensor of a file; its values are read when asked for.

  Attributes:
    file: the file that holds it.
    shape: its shape.
    dtype: its type as safetensors writes it, "F32" for example.
    load: reads the values.
  """

  file: Path
  shape: tuple[int, ...]
  dtype: str
  load: Callable[[], np.ndarray]

  @property
  def size(self) -> int:
    """Number of values."""
    return int(np.prod(self.shape))

  def float32(self) -> np.ndarray:
    """The values as float32; exact for float16 and bfloat16."""
    return np.asarray(self.load(), dtype=np.float32, order="C")


def open_tensors(path: Path) -> dict[str, Tensor]:
  """Lists the tensors of a file, or of the one model in a folder.

  In a folder, safetensors go before pickles, full precision before the
  variants that diffusers names `….fp16.safetensors`.

  Args:
    path: a `.safetensors`, `.ckpt`, `.pth`, `.pt` or `.bin` file, an index
      `….safetensors.index.json`, or a folder with one of them.

  Raises:
    InputError: no such file, no weights in the folder, or not readable.

  Example:
    >>> open_tensors(Path("missing.safetensors"))
    Traceback (most recent call last):
    ...
    diffmvr_jax.errors.InputError: missing.safetensors: no such file
  """
  if path.is_dir():
    path = weights_file(path)
  refuse_special(path)
  if path.suffix == ".json":
    return _open_shards(path)
  if path.suffix == ".safetensors":
    return _open_safetensors(path)
  if path.suffix in _PICKLES:
    return _open_pickle(path)
  raise InputError(
    f"{path}: expected .safetensors, {', '.join(_PICKLES)} or a folder"
  )


def weights_file(folder: Path) -> Path:
  """The file of a folder's weights; `open_tensors` says which one counts.

  Raises:
    InputError: there is none.
  """
  for pattern in (
    "*.safetensors.index.json",
    "*.safetensors",
    "*.safetensors.index.fp16.json",
    "*.bin",
  ):
    found = sorted(folder.glob(pattern), key=lambda p: (len(p.name), p.name))
    whole = [p for p in found if "-of-" not in p.name]
    if whole:
      return whole[0]
  raise InputError(f"{folder}: no .safetensors or .bin file in this folder")


def _open_shards(index: Path) -> dict[str, Tensor]:
  names = read_json(index, "fetch it again").get("weight_map")
  if not isinstance(names, dict) or not all(
    isinstance(shard, str) and FileName().wrong(shard) is None
    for shard in names.values()
  ):
    raise InputError(f"{index}: not an index of shards")
  tensors: dict[str, Tensor] = {}
  for shard in sorted(set(names.values())):
    if not (index.parent / shard).is_file():
      raise InputError(f"{index.parent / shard}: this shard is missing")
    tensors |= _open_safetensors(index.parent / shard)
  absent = sorted(names.keys() - tensors.keys())
  if absent:
    raise InputError(
      f"{index}: its shards lack {len(absent)} tensors: {', '.join(absent)}"
    )
  return tensors


def _open_safetensors(path: Path) -> dict[str, Tensor]:
  def loader(name: str) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
      # A mapping of its own lets the pages of the last tensor go.
      with safe_open(path, framework="numpy") as file:
        try:
          return file.get_tensor(name)
        except (SafetensorError, TypeError, AttributeError) as error:
          raise InputError(
            f"{path}: {name} cannot be read ({' '.join(str(error).split())})"
          ) from error

    return load

  tensors = {}
  try:
    with safe_open(path, framework="numpy") as file:
      for name in file.keys():  # noqa: SIM118 (not a mapping)
        header = file.get_slice(name)
        tensors[name] = Tensor(
          file=path,
          shape=tuple(header.get_shape()),
          dtype=header.get_dtype(),
          load=loader(name),
        )
  except SafetensorError as error:
    raise InputError(
      f"{path}: not a whole safetensors file ({error}); fetch it again"
    ) from error
  return tensors


def _open_pickle(path: Path) -> dict[str, Tensor]:
  try:
    import torch
  except ImportError as error:
    raise InputError(
      f"{path}: reading {path.suffix} needs PyTorch (pip install torch); or "
      "use a .safetensors file"
    ) from error
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # what PyTorch thinks of sparse tensors
      # Mapped from disk where the file's format allows it.
      loaded = torch.load(
        path, map_location="cpu", weights_only=True, mmap=True
      )
  except Exception as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise InputError(
      f"{path}: not readable as plain weights ({reason})"
    ) from error
  if isinstance(loaded, dict):
    loaded = loaded.get("state_dict", loaded)
  if not isinstance(loaded, dict):
    raise InputError(
      f"{path}: holds a {type(loaded).__name__}, not tensors by name"
    )
  codes = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
  }

  def describe(value: torch.Tensor) -> Tensor:
    def load() -> np.ndarray:
      # NumPy has no bfloat16 of PyTorch's; float32 holds it exactly.
      half = value.dtype == torch.bfloat16
      return (value.float() if half else value).numpy()

    code = codes.get(value.dtype, str(value.dtype).removeprefix("torch."))
    return Tensor(file=path, shape=tuple(value.shape), dtype=code, load=load)

  return {
    name: describe(value)
    for name, value in loaded.items()
    if isinstance(name, str)
    and isinstance(value, torch.Tensor)
    and value.layout == torch.strided
  }


def write_safetensors(
  path: Path,
  shapes: Mapping[str, tuple[int, ...]],
  tensors: Iterable[tuple[str, np.ndarray]],
  dtype: str = "F32",
) -> None:
  """Writes a file while holding one tensor at a time.

  Args:
    path: the file, which is written under another name and then renamed.
    shapes: shape of every tensor, in the order in which they come.
    tensors: names and values.
    dtype: type that every tensor is converted to: F32, F16 or BF16.

  Raises:
    ValueError: a tensor comes out of order or with another shape.
  """
  target = _FLOATS[dtype]
  header: dict[str, object] = {"__metadata__": {"format": "pt"}}
  offset = 0
  for name, shape in shapes.items():
    end = offset + int(np.prod(shape)) * target.itemsize
    header[name] = {
      "dtype": dtype,
      "shape": list(shape),
      "data_offsets": [offset, end],
    }
    offset = end
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # data begins at a multiple of 8
  expected = iter(shapes.items())
  with writing(path), replacing(path) as partial, partial.open("wb") as file:
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for (name, values), (due, shape) in zip(tensors, expected, strict=True):
      if name != due or values.shape != shape:
        raise ValueError(f"{path}: {name} {values.shape}, not {due} {shape}")
      flat = np.asarray(values, dtype=target, order="C").reshape(-1)
      file.write(flat.view(np.uint8).data)
    file.flush()
    os.fsync(file.fileno())
