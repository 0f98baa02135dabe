"""The parameters that a training starts from."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.config import Config
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.frames import to_float


def initial_params(model: DiffMVR, config: Config, seed: jax.Array) -> Params:
  """The networks that `config.init_from` has, and random ones for the others.

  Raises:
    InputError: `init_from` has no model, or one of other shapes.
  """
  size = config.data.image_size
  shapes = model.shapes(size)
  given: Params = {}
  if config.init_from is not None:
    saved = open_model(config.init_from).load()
    given = {name: saved[name] for name in saved if name in shapes}
  for name, network in given.items():
    refuse_other_shapes(config.init_from, name, network, shapes[name])
  return _draw(model, size, frozenset(shapes.keys() - given), seed) | given


@partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(
  model: DiffMVR, image_size: int, networks: frozenset[str], key: jax.Array
) -> Params:
  params = model.init(key, image_size)
  return {name: params[name] for name in networks}


def refuse_other_shapes(
  source: str | None, name: str, network: Any, expected: Any
) -> None:
  """Refuses a network whose parameters have other shapes than expected.

  Raises:
    InputError: naming the first parameter that differs.
  """
  ours, theirs = (
    {jax.tree_util.keystr(k): x.shape for k, x in jax.tree.leaves_with_path(t)}
    for t in (expected, network)
  )
  for key in sorted(ours.keys() | theirs.keys()):
    if ours.get(key) != theirs.get(key):
      raise InputError(
        f"{source}: its {name} does not fit the config: {name}{key} is "
        f"{theirs.get(key)} there and {ours.get(key)} here"
      )


def measure_scale(
  model: DiffMVR, params: Params, config: Config, records: RecordSource
) -> Params:
  """Sets `scaling_factor` so that latents have unit variance.

  It is measured on 64 frames that are spread evenly over the training records.
  A factor that the configuration gives is left as it is.
  """
  if config.model.autoencoder.scaling_factor is not None:
    return params
  chosen = np.linspace(0, len(records) - 1, 64).astype(int)
  frames = [records[int(i)] for i in chosen]
  images = np.stack([r.image if r.target is None else r.target for r in frames])
  encode = jax.jit(lambda p, x: model.encode(p, to_float(x)))
  latents = encode(params | {"scaling_factor": jnp.float32(1)}, images)
  return params | {"scaling_factor": 1 / jnp.std(latents)}
