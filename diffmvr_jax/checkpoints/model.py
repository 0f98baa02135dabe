"""A model on disk, read whole or one parameter at a time.

Two kinds of folder hold a model. `diffmvr_jax.train` writes the one, of which
the averaged parameters are read. `diffmvr_jax.convert import` writes the other,
which may have only some of the networks.
"""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from diffmvr_jax.checkpoints.digests import identity, write_missing_digests
from diffmvr_jax.config import Config, from_dict, trained_networks
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params

_TRAINED, _IMPORTED = "diffusion", "model"


@dataclass(frozen=True, kw_only=True)
class StoredModel:
  """The networks of a checkpoint; nothing is read before it is asked for.

  Attributes:
    config: configuration of the run, or the one given at the import.
    step: number of updates applied; 0 if the model was imported.
    digest: SHA-256 of the checkpoint; None if an older version wrote it.
    folder: folder of the arrays, as Orbax writes them.
    shapes: shapes of the parameters, by network.
    places: keys under which each network is in the checkpoint.
  """

  config: Config
  step: int
  digest: str | None
  folder: Path
  shapes: Params
  places: dict[str, tuple[str, ...]]

  def load(self, networks: Collection[str] | None = None) -> Params:
    """The named networks, or all of them, as arrays on the first device."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    chosen = {
      name: jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree
      )
      for name, tree in self.shapes.items()
      if networks is None or name in networks
    }
    wanted: dict[str, Any] = {}
    for name, tree in chosen.items():
      _put(wanted, (*self.places[name], name), tree)
    options = ocp.checkpoint_utils.construct_restore_args(wanted)
    restored = self._restore(wanted, options)
    return {name: _get(restored, (*self.places[name], name)) for name in chosen}

  def stream(
    self, paths: Sequence[str], chunk_bytes: int = 2**27
  ) -> Iterator[np.ndarray]:
    """Parameters one after another, about `chunk_bytes` in memory at a time.

    Args:
      paths: paths of the parameters, network first, joined by "/".
      chunk_bytes: bytes that are read at once; one parameter may be more.
    """
    chunk: list[tuple[str, ...]] = []
    size = 0
    for path in paths:
      keys = tuple(path.split("/"))
      leaf = _get(self.shapes, keys)
      if chunk and size + leaf.size * leaf.dtype.itemsize > chunk_bytes:
        yield from self._read(chunk)
        chunk, size = [], 0
      chunk.append(keys)
      size += leaf.size * leaf.dtype.itemsize
    yield from self._read(chunk)

  def _read(self, chunk: Sequence[tuple[str, ...]]) -> Iterator[np.ndarray]:
    wanted: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for keys in chunk:
      place = (*self.places[keys[0]], *keys)
      _put(wanted, place, _get(self.shapes, keys))
      _put(options, place, ocp.RestoreArgs(restore_type=np.ndarray))
    restored = self._restore(wanted, options) if chunk else {}
    for keys in chunk:
      yield np.asarray(_get(restored, (*self.places[keys[0]], *keys)))

  def _restore(self, wanted: Any, options: Any) -> Any:
    # Averages are read; the optimizer's moments, twice the model, stay on disk.
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
      return checkpointer.restore(
        self.folder,
        ocp.args.PyTreeRestore(
          wanted, restore_args=options, partial_restore=True
        ),
      )


def open_model(workdir: str | Path) -> StoredModel:
  """Finds the model that `train` or `convert import` wrote in a folder.

  Raises:
    InputError: there is no finished checkpoint.
  """
  workdir = Path(workdir)
  trained = (workdir / _TRAINED).is_dir()
  folder = workdir / (_TRAINED if trained else _IMPORTED)
  if not folder.is_dir():
    raise InputError(f"{workdir}: no trained or imported model here")
  with ocp.CheckpointManager(folder.absolute()) as manager:
    step = manager.latest_step()
    if step is None:
      raise InputError(f"{folder}: no finished checkpoint here")
    restored = manager.restore(
      step, args=ocp.args.Composite(config=ocp.args.JsonRestore())
    )
    config = from_dict(restored["config"])
  shapes = DiffMVR.of(config).shapes(config.data.image_size)
  item = folder.absolute() / str(step) / ("state" if trained else "params")
  if trained:
    averaged = trained_networks(config)
    places = {n: ("ema" if n in averaged else "frozen",) for n in shapes}
  else:
    present = ocp.PyTreeCheckpointHandler().metadata(epath.Path(item)).tree
    places = {name: () for name in shapes if name in present}
    shapes = {name: shapes[name] for name in places}
  return StoredModel(
    config=config,
    step=step,
    digest=identity(item.parent),
    folder=item,
    shapes=shapes,
    places=places,
  )


def open_for_inference(workdir: str | Path) -> StoredModel:
  """Finds a whole model.

  Args:
    workdir: directory of a training run, or of an import of every network.

  Raises:
    InputError: there is no finished checkpoint, or it lacks networks.
  """
  model = open_model(workdir)
  config = model.config
  needed = DiffMVR.of(config).shapes(config.data.image_size)
  lacking = sorted(needed.keys() - model.shapes.keys())
  if lacking:
    raise InputError(
      f"{workdir}: an imported model without {', '.join(lacking)}; train from "
      f"it with init_from={workdir}"
    )
  return model


def save_model(
  workdir: Path, config: Config, params: Params, step: int = 0
) -> None:
  """Writes a model without optimizer state, whole or not at all.

  Args:
    workdir: directory in which `open_model` will find it.
    config: configuration that is saved with it.
    params: some or all networks, as JAX arrays, which Orbax does not copy.
    step: number of updates applied.
  """
  options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
  # Weights hardly compress, and compressed they would be in memory twice.
  handler = ocp.PyTreeCheckpointHandler(use_compression=False)
  folder = (workdir / _IMPORTED).absolute()
  with ocp.CheckpointManager(
    folder,
    options=options,
    item_handlers={"params": handler, "config": ocp.JsonCheckpointHandler()},
  ) as manager:
    manager.save(
      step,
      args=ocp.args.Composite(
        params=ocp.args.PyTreeSave(params),
        config=ocp.args.JsonSave(dataclasses.asdict(config)),
      ),
    )
  if jax.process_index() == 0:
    write_missing_digests(folder)


def _put(tree: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
  """Puts a value into nested dictionaries, which are made as needed."""
  for key in keys[:-1]:
    tree = tree.setdefault(key, {})
  tree[keys[-1]] = value


def _get(tree: Any, keys: tuple[str, ...]) -> Any:
  for key in keys:
    tree = tree[key]
  return tree
