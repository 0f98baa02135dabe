"""Finds a model on disk, and reads it whole or one parameter at a time.

`diffmvr_jax.train` writes a folder for each stage; the averaged parameters of
the last one are read. `diffmvr_jax.convert import` writes a folder that may
have only some of the networks. `diffmvr_jax.convert pretrained` writes a file,
and some of these come with the package.
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

from diffmvr_jax import pretrained
from diffmvr_jax.checkpoints.digests import identity, write_missing_digests
from diffmvr_jax.checkpoints.model_file import SUFFIX, open_model_file
from diffmvr_jax.checkpoints.stored_model import StoredModel
from diffmvr_jax.config import (
  Config,
  completed,
  from_dict,
  trained_networks,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params

_IMPORTED = "model"
# Stages that need no U-Net, in their order, named like the networks they train.
_EARLY = ("fusion", "painter", "occluder")
# Folders of a workdir, the one that counts first.
_FOLDERS = ("diffusion", _IMPORTED, *reversed(_EARLY))
# What an anchor is made with; without any of them it is the propagated image.
ANCHOR_NETWORKS = ("fusion", "flow_prior", "painter")
# What a model needs that is its anchor alone.
_WITHOUT_DENOISER = (*ANCHOR_NETWORKS, "occluder")
_ENCODER = ("autoencoder", "scaling_factor")


@dataclass(frozen=True, kw_only=True)
class OrbaxModel(StoredModel):
  """A model in a checkpoint that Orbax wrote.

  Attributes:
    folder: folder of the arrays.
    places: keys under which each network is in the checkpoint.
  """

  folder: Path
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
    try:
      with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(
          self.folder,
          ocp.args.PyTreeRestore(
            wanted, restore_args=options, partial_restore=True
          ),
        )
    except Exception as error:  # whatever Orbax makes of a damaged file
      raise _unreadable(self.folder.parent, error) from error


def open_model(where: str | Path) -> StoredModel:
  """Finds a model.

  Args:
    where: a folder in which `train` or `convert import` wrote, a file that
      `convert pretrained` wrote, or `pretrained:NAME` for one that comes with
      the package.

  Raises:
    InputError: there is no finished checkpoint, or the file cannot be used.
  """
  name = str(where)
  if name.startswith(pretrained.PREFIX):
    name = name.removeprefix(pretrained.PREFIX)
    return open_model_file(pretrained.model_file(name))
  if name.endswith(SUFFIX):
    return open_model_file(Path(where))
  return _open_workdir(Path(where))


def _open_workdir(workdir: Path) -> OrbaxModel:
  step, folder = _newest_step(workdir)
  config = from_dict(_stored_config(folder, step))
  shapes = DiffMVR.of(config).shapes(config.data.image_size)
  imported = folder.name == _IMPORTED
  item = folder.absolute() / str(step) / ("params" if imported else "state")
  if imported:
    present = ocp.PyTreeCheckpointHandler().metadata(epath.Path(item)).tree
    places = {name: () for name in shapes if name in present}
  elif folder.name in _EARLY:
    early = _trained_before(config, folder.name)
    places = {n: ("frozen",) for n in early if n in shapes}
    places[folder.name] = ("ema",)
  else:
    averaged = trained_networks(config)
    places = {n: ("ema" if n in averaged else "frozen",) for n in shapes}
  return OrbaxModel(
    config=config,
    step=step,
    digest=identity(item.parent),
    shapes={name: shapes[name] for name in places},
    folder=item,
    places=places,
  )


def _trained_before(config: Config, stage: str) -> tuple[str, ...]:
  """The networks that are no random ones when an early stage begins."""
  names = _ENCODER if config.autoencoder_stage.steps else ()
  if stage == "fusion" or config.fusion_stage.steps:
    names = (*names, "flow_prior")
  steps = {
    "fusion": config.fusion_stage.steps,
    "painter": config.painter_stage.steps,
  }
  before = _EARLY[: _EARLY.index(stage)]
  return (*names, *(name for name in before if steps[name]))


def _stored_config(folder: Path, step: int) -> Any:
  try:
    with ocp.CheckpointManager(folder.absolute()) as manager:
      return manager.restore(
        step, args=ocp.args.Composite(config=ocp.args.JsonRestore())
      )["config"]
  except Exception as error:  # whatever Orbax makes of a damaged file
    raise _unreadable(folder / str(step), error) from error


def _unreadable(place: Path, error: Exception) -> InputError:
  reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
  return InputError(
    f"{place}: cannot be read ({reason[:200]}); move it away, and the "
    "checkpoint before it is used"
  )


def _newest_step(workdir: Path) -> tuple[int, Path]:
  """The newest finished checkpoint's number, and the folder that it is in.

  Raises:
    InputError: there is none.
  """
  folders = [workdir / name for name in _FOLDERS if (workdir / name).is_dir()]
  for folder in folders:
    with ocp.CheckpointManager(folder.absolute()) as manager:
      step = manager.latest_step()
    if step is not None:
      return step, folder
  if folders:
    raise InputError(f"{folders[0]}: no finished checkpoint here")
  raise InputError(f"{workdir}: no trained or imported model here")


def open_for_inference(
  where: str | Path, overrides: Sequence[str] = ()
) -> StoredModel:
  """Finds a model that has all networks which its settings need.

  Args:
    where: see `open_model`.
    overrides: changes to its settings, `key.path=value`.

  Returns:
    The model with these settings, and of its networks those that they need.

  Raises:
    InputError: there is no finished checkpoint, it lacks networks, or an
      override is wrong.
  """
  model = open_model(where)
  config = completed(model.config, overrides)
  needed = DiffMVR.of(config).shapes(config.data.image_size).keys()
  if config.sampling.steps == 0:
    needed = needed & set(_WITHOUT_DENOISER)
  lacking = sorted(needed - model.shapes.keys())
  if lacking:
    raise InputError(
      f"{where}: a model without {', '.join(lacking)}; {_way_out(model)}train "
      f"from it with init_from={where}"
    )
  shapes = {name: model.shapes[name] for name in model.shapes if name in needed}
  return dataclasses.replace(model, config=config, shapes=shapes)


def _way_out(model: StoredModel) -> str:
  """What a model that lacks networks can restore, if anything."""
  anchor = model.config.diffusion.anchor
  if anchor == "none" or (anchor == "fused" and "fusion" not in model.shapes):
    return ""
  return "restore with sampling.steps=0, or "


def save_model(
  workdir: Path, config: Config, params: Params, step: int = 0
) -> None:
  """Writes a model without optimizer state, whole or not at all.

  Args:
    workdir: directory in which `open_model` will find it.
    config: configuration that is saved with it.
    params: some or all networks, as JAX arrays, which Orbax does not copy.
    step: number of updates applied.

  Raises:
    InputError: it cannot be written, as the disk is full, for example.
  """
  options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
  # Weights hardly compress, and compressed they would be in memory twice.
  handler = ocp.PyTreeCheckpointHandler(use_compression=False)
  folder = (workdir / _IMPORTED).absolute()
  handlers = {"params": handler, "config": ocp.JsonCheckpointHandler()}
  try:
    with ocp.CheckpointManager(
      folder, options=options, item_handlers=handlers
    ) as manager:
      manager.save(
        step,
        args=ocp.args.Composite(
          params=ocp.args.PyTreeSave(params),
          config=ocp.args.JsonSave(dataclasses.asdict(config)),
        ),
      )
  except Exception as error:  # a full disk has many names in Orbax
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise InputError(
      f"{workdir}: cannot be written ({reason[:200]})"
    ) from error
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
