"""A model in one file, small enough to come with the package.

It is a safetensors file. Kernels are 16-bit floats; vectors and scalars, which
are few and may be tiny, are 32-bit ones. Tensors are named by their parameter's
path, `fusion/coarse/stem/kernel`. The metadata are the configuration as JSON,
the number of updates, and what the file was made from.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from diffmvr_jax.checkpoints.stored_model import StoredModel
from diffmvr_jax.config import Config, completed, from_dict, to_json
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import refuse_special, sha256, write_atomically
from diffmvr_jax.models.diffmvr import DiffMVR, Params

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class FileModel(StoredModel):
  """A model in one file.

  Attributes:
    path: path of the file.
    made_from: what it was made from, by name.
  """

  path: Path
  made_from: Mapping[str, str]

  def load(self, networks: Collection[str] | None = None) -> Params:
    """The named networks, or all of them, as float32 arrays."""
    chosen = {
      name: tree
      for name, tree in self.shapes.items()
      if networks is None or name in networks
    }
    paths = list(flatten_dict(chosen, sep="/"))
    values = map(jnp.asarray, self.stream(paths))
    return unflatten_dict(dict(zip(paths, values, strict=True)), sep="/")

  def stream(
    self, paths: Sequence[str], chunk_bytes: int = 2**27
  ) -> Iterator[np.ndarray]:
    """Parameters one after another, as float32 arrays."""
    del chunk_bytes
    with safe_open(self.path, framework="numpy") as file:
      for path in paths:
        yield file.get_tensor(path).astype(np.float32)


def open_model_file(path: Path) -> FileModel:
  """Opens a file that `write_model_file` wrote.

  Raises:
    InputError: there is no such file, it is damaged, or it holds something
      else.
  """
  refuse_special(path)
  try:
    with safe_open(path, framework="numpy") as file:
      metadata = dict(file.metadata() or {})
      found = {
        name: tuple(file.get_slice(name).get_shape())
        for name in file.keys()  # noqa: SIM118 (not a mapping)
      }
  except SafetensorError as error:
    raise InputError(
      f"{path}: not a whole safetensors file ({error}); fetch it again"
    ) from error
  try:
    config = completed(from_dict(loads(metadata.pop("config"))))
    step = int(metadata.pop("step"))
  except InputError as error:
    raise InputError(
      f"{path}: its configuration cannot be used ({error})"
    ) from error
  except (KeyError, ValueError, RecursionError) as error:
    raise InputError(
      f"{path}: not a model of DiffMVR-JAX; PyTorch weights are imported with "
      "python -m diffmvr_jax.convert import"
    ) from error
  shapes = DiffMVR.of(config).shapes(config.data.image_size)
  present = {name.partition("/")[0] for name in found}
  shapes = {name: tree for name, tree in shapes.items() if name in present}
  expected = {k: v.shape for k, v in flatten_dict(shapes, sep="/").items()}
  if expected != found:
    name = min(
      name
      for name in expected.keys() | found.keys()
      if expected.get(name) != found.get(name)
    )
    raise InputError(
      f"{path}: {name} is {found.get(name)} there, and this version expects "
      f"{expected.get(name)}"
    )
  return FileModel(
    config=config,
    step=step,
    digest=sha256(path),
    shapes=shapes,
    path=path,
    made_from=metadata,
  )


def write_model_file(
  path: Path,
  config: Config,
  params: Params,
  step: int,
  made_from: Mapping[str, str],
) -> None:
  """Writes a model, whole or not at all.

  Args:
    path: the file; a file that is there is replaced.
    config: configuration that is saved with it.
    params: parameters of some or all networks.
    step: number of updates applied.
    made_from: what it was made from, by name.
  """
  arrays = {
    name: _halved(np.asarray(value))
    for name, value in flatten_dict(jax.device_get(params), sep="/").items()
  }
  metadata = {**made_from, "config": to_json(config), "step": str(step)}
  write_atomically(path, save(arrays, metadata))


def _halved(values: np.ndarray) -> np.ndarray:
  kind = np.float16 if values.ndim > 1 else np.float32
  return np.asarray(values, dtype=kind, order="C")
