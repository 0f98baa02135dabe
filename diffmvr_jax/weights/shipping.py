"""A trained model to one small file, as it comes with the package.

The file holds the networks that its settings need, and nothing of the place
where it was trained.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from flax.traverse_util import flatten_dict

from diffmvr_jax.checkpoints.model import open_for_inference, open_model
from diffmvr_jax.checkpoints.model_file import SUFFIX, write_model_file
from diffmvr_jax.checkpoints.stored_model import StoredModel
from diffmvr_jax.config import Config, DataConfig, MeshConfig
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import Params


def write_pretrained(
  workdir: Path,
  out: Path,
  overrides: Sequence[str] = (),
  *,
  others: Sequence[Path] = (),
) -> list[str]:
  """Writes the file of a model, whole or not at all.

  If no U-Net was trained, the model is its anchor alone.

  Args:
    workdir: directory of a training run, or another name that `open_model`
      knows.
    out: the file; one that is there is replaced.
    overrides: settings of the sampling that become the file's defaults,
      `sampling.KEY=VALUE`.
    others: more such directories or names, of which the networks are taken
      that `workdir` lacks: a painter, an occluder.

  Returns:
    What was written.

  Raises:
    InputError: there is no checkpoint, it lacks networks, or an override is
      wrong.
  """
  if out.suffix != SUFFIX:
    raise InputError(f"{out}: the file's name must end with {SUFFIX}")
  if not out.parent.is_dir():
    raise InputError(f"{out.parent}: no such folder")
  for assignment in overrides:
    if not assignment.startswith("sampling."):
      raise InputError(f"{assignment}: only sampling.KEY=VALUE can be set")
  stored = open_model(workdir)
  if "unet" not in stored.shapes:
    overrides = [*overrides, "sampling.steps=0"]
  chosen = open_for_inference(workdir, overrides)
  config = _without_places(_reduced(chosen))
  params = chosen.load()
  for other in others:
    config, params = _joined(config, params, other)
  made_from = {
    "checkpoint_sha256": chosen.digest or "unknown",
    "diffmvr_jax": version("diffmvr-jax"),
  }
  write_model_file(out, config, params, chosen.step, made_from)
  count = sum(leaf.size for leaf in flatten_dict(params).values())
  return [
    f"wrote {out}: {', '.join(sorted(params))}; {count / 1e6:.2f} M values, "
    f"{out.stat().st_size / 1e6:.2f} MB, {chosen.step} updates, "
    f"sampling.steps={config.sampling.steps}"
  ]


def _joined(
  config: Config, params: Params, where: Path
) -> tuple[Config, Params]:
  """Adds the networks of another model that are not there yet."""
  other = open_model(where)
  lacking = [
    name
    for name in ("painter", "occluder")
    if name in other.shapes and name not in params
  ]
  if not lacking:
    raise InputError(f"{where}: no painter or occluder that is still lacking")
  size, expected = other.config.data.image_size, config.data.image_size
  if size != expected:
    raise InputError(
      f"{where}: its networks are for {size} px, the model for {expected} px"
    )
  networks = {name: getattr(other.config.model, name) for name in lacking}
  config = replace(config, model=replace(config.model, **networks))
  return config, params | other.load(lacking)


def _reduced(model: StoredModel) -> Config:
  """The configuration without the stages of networks that are left out."""
  config = model.config
  if "unet" in model.shapes:
    return config
  return replace(
    config,
    autoencoder_stage=replace(config.autoencoder_stage, steps=0),
    diffusion_stage=replace(config.diffusion_stage, steps=0),
  )


def _without_places(config: Config) -> Config:
  """The configuration without paths and devices of the training run."""
  data = replace(config.data, path=DataConfig.path, encoded=None)
  return replace(config, data=data, init_from=None, mesh=MeshConfig())
