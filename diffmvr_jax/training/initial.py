"""The parameters that a training run starts from."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.config import Config
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.flow_prior import fitted_prior, visible_flows
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.observation import Observation, observed


def initial_params(model: DiffMVR, config: Config, seed: jax.Array) -> Params:
  """The networks that `config.init_from` has, and random ones for the others.

  A U-Net with fewer input channels gets new ones that start at zero. If the
  model there has no anchor and this one has, the U-Net's last convolution
  starts at zero, so that it restores the anchor.

  Raises:
    InputError: `init_from` has no model, or one of other shapes.
  """
  size = config.data.image_size
  shapes = model.shapes(size)
  given: Params = {}
  if config.init_from is not None:
    saved = open_model(config.init_from).load()
    given = {name: saved[name] for name in saved if name in shapes}
  if "unet" in given:
    given["unet"] = widened(given["unet"], shapes["unet"])
    if model.anchor != "none" and "residual_scale" not in given:
      given["unet"] |= {
        "conv_out": jax.tree.map(jnp.zeros_like, given["unet"]["conv_out"])
      }
  for name, network in given.items():
    refuse_other_shapes(config.init_from, name, network, shapes[name])
  return _draw(model, size, frozenset(shapes.keys() - given), seed) | given


@partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(
  model: DiffMVR, image_size: int, networks: frozenset[str], key: jax.Array
) -> Params:
  params = model.init(key, image_size)
  return {name: params[name] for name in networks}


def widened(unet: Params, expected: Params) -> Params:
  """A U-Net whose input has further channels, which start at zero."""
  kernel = unet["conv_in"]["kernel"]
  more = expected["conv_in"]["kernel"].shape[2] - kernel.shape[2]
  if more <= 0:
    return unet
  kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, more), (0, 0)))
  return unet | {"conv_in": unet["conv_in"] | {"kernel": kernel}}


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


def measure_residual_scale(
  model: DiffMVR, params: Params, config: Config, windows: WindowSource
) -> Params:
  """Sets `residual_scale` so that residuals have unit size under the mask.

  It is s of `diffmvr_jax.diffusion.anchor`, the root mean square of what the
  anchor's latents lack there, measured on up to 64 windows that are spread
  evenly. The scale of a model that the training starts from is left as it is.
  """
  if model.anchor == "none":
    return params
  start = config.init_from
  if start is not None and "residual_scale" in open_model(start).shapes:
    return params
  squares = jax.jit(partial(_residual_squares, model))
  chosen = np.linspace(0, len(windows) - 1, 64).astype(int)
  total, count = 0.0, 0.0
  for number in np.unique(chosen).tolist():
    batch = jax.tree.map(jnp.asarray, windows.read([number], [False]))
    sum_here, count_here = squares(params, observed(batch), batch["target"])
    total, count = total + float(sum_here), count + float(count_here)
  # An anchor that lacks nothing must not divide by zero.
  scale = max(np.sqrt(total / max(count, 1.0)), 1e-3)
  return params | {"residual_scale": jnp.float32(scale)}


def _residual_squares(
  model: DiffMVR,
  params: Params,
  observation: Observation,
  target: UInt8[Array, "b f h w 3"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """The sum of squared residuals under the mask, and their number."""
  image = model.anchor_image(params, observation)
  truth = to_float(flatten_frames(target))
  mask = flatten_frames(observation.mask)[:, :: model.factor, :: model.factor]
  squared = jnp.square(
    model.encode(params, truth) - model.encode(params, image)
  )
  return (squared * mask).sum(), 1.0 * mask.sum() * squared.shape[-1]


def fit_flow_prior(
  params: Params, config: Config, windows: WindowSource
) -> Params:
  """Fits `flow_prior`, if there is one, to flows of the training windows.

  Up to 2,000 windows of one frame count, spread evenly, and of them the flows
  of remembered frames where the present is visible. The prior of a model that
  the training starts from is left as it is.
  """
  fusion, start = config.model.fusion, config.init_from
  if fusion is None or not fusion.flow_components:
    return params
  if start is not None and "flow_prior" in open_model(start).shapes:
    return params
  flows, visible = [], []
  numbers = np.unique(np.linspace(0, len(windows) - 1, 2000).astype(int))
  for number in numbers.tolist():
    batch = windows.read([number], [False])
    seen, shown = visible_flows(
      batch["source_flow"][0, 0],
      batch["source_valid"][0, 0],
      batch["mask"][0, 0],
    )
    flows.append(seen)
    visible.append(shown)
  prior = fitted_prior(
    np.concatenate(flows), np.concatenate(visible), fusion.flow_components
  )
  return params | {"flow_prior": prior}
