"""Train state, the two stages' losses, and the jitted update.

The update is `jax.jit` with explicit shardings and a donated state: what
`pmap` compiles to today, without its reshapes. Its randomness is
`fold_in(seed, step)`, drawn for the global batch, so the same window gets the
same noise on any mesh.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from diffmvr_jax.config import Config, OptimizerConfig
from diffmvr_jax.diffusion.losses import (
  denoising_loss,
  motion_loss,
  motion_subject,
)
from diffmvr_jax.diffusion.samplers import window_noise
from diffmvr_jax.diffusion.schedule import (
  add_noise,
  make_schedule,
  training_target,
)
from diffmvr_jax.models.diffmvr import (
  DiffMVR,
  Observation,
  Params,
  flatten_frames,
  split_frames,
  to_float,
)
from diffmvr_jax.training.optimizer import update_ema
from diffmvr_jax.training.sharding import batch_sharding, state_shardings

Batch = dict[str, Any]
Metrics = dict[str, Float[Array, ""]]
Loss = Callable[[Params, Batch, jax.Array], tuple[jax.Array, Metrics]]


@struct.dataclass
class TrainState:
  """Everything that a resumed run needs, but for the data's position.

  Leaves are arrays, or in their place shapes or shardings.

  Attributes:
    step: updates applied, int32.
    params: what this stage trains, by network.
    ema: their moving average.
    frozen: the other networks.
    opt_state: of the optimizer.
  """

  step: Any
  params: Params
  ema: Params
  frozen: Params
  opt_state: optax.OptState

  def inference_params(self) -> Params:
    """Averaged and frozen parameters, together."""
    return {**self.frozen, **self.ema}


def init_state(
  params: Params,
  trained: tuple[str, ...],
  optimizer: optax.GradientTransformation,
) -> TrainState:
  """A fresh state that trains the named networks."""
  chosen = {name: params[name] for name in trained}
  return TrainState(
    step=jnp.int32(0),
    params=chosen,
    ema=jax.tree.map(jnp.copy, chosen),  # donated buffers cannot be shared
    frozen={k: v for k, v in params.items() if k not in trained},
    opt_state=optimizer.init(chosen),
  )


def autoencoder_loss(model: DiffMVR, kl_weight: float) -> Loss:
  """Absolute error plus a light KL term, on the unoccluded frames."""

  def loss(
    params: Params, batch: Batch, key: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    image = flatten_frames(to_float(batch["target"]))
    mean, deviation = model.moments(params, image)
    noise = jax.random.normal(key, mean.shape)
    decoded = model.decode(params, mean + deviation * noise)
    reconstruction = jnp.mean(jnp.abs(decoded - image))
    variance = jnp.square(deviation)
    kl = 0.5 * jnp.mean(jnp.square(mean) + variance - jnp.log(variance) - 1)
    total = reconstruction + kl_weight * kl
    squared = jnp.mean(jnp.square(decoded - image))
    psnr = 10 * jnp.log10(4 / squared)  # the range is [−1, 1]
    return total, {"loss": total, "kl": kl, "psnr": psnr}

  return loss


def diffusion_loss(model: DiffMVR, config: Config) -> Loss:
  """L_diff + λ L_motion of `diffmvr_jax.diffusion.losses`."""
  schedule = make_schedule(config.diffusion)
  motion, steps = config.diffusion_stage.motion, config.diffusion.steps
  dropout = config.model.guidance.dropout
  mask_weight = config.diffusion_stage.mask_weight

  def loss(
    params: Params, batch: Batch, key: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    keys = jax.random.split(key, 4)
    windows, frames = batch["frame"].shape[:2]
    mean, deviation = model.moments(
      params, flatten_frames(to_float(batch["target"]))
    )
    clean = mean + deviation * jax.random.normal(keys[0], mean.shape)
    noise = flatten_frames(
      window_noise(
        keys[1],
        (windows, frames, *clean.shape[1:]),
        config.diffusion.noise_share,
      )
    )
    # One timestep per window: Eq. (4) compares frames at the same T.
    timesteps = jax.random.randint(keys[2], (windows,), 0, steps)
    timesteps = jnp.repeat(timesteps, frames)
    noisy = add_noise(schedule, clean, noise, timesteps)
    branches = model.config.unet.branches
    drawn = jax.random.bernoulli(keys[3], 1 - dropout, (len(branches), windows))
    conditioning = model.condition(
      params,
      Observation(**{k: batch[k] for k in Observation.__annotations__}),
      keep=dict(zip(branches, drawn, strict=True)),
    )
    output = model.predict(params, noisy, timesteps, conditioning)
    target = training_target(schedule, clean, noise, timesteps)
    weight = 1 + (mask_weight - 1) * conditioning.mask
    denoising = denoising_loss(output, target, weight)
    subject = motion_subject(motion.on, schedule, noisy, output, timesteps)
    reference = clean if motion.relative_to == "target" else None
    consistency = motion_loss(
      split_frames(subject, frames),
      None if reference is None else split_frames(reference, frames),
    )
    total = denoising + motion.weight * consistency
    return total, {
      "loss": total,
      "denoising": denoising,
      "motion": consistency,
    }

  return loss


def make_update(
  loss: Loss,
  optimizer: optax.GradientTransformation,
  config: OptimizerConfig,
  seed: jax.Array,
  state: TrainState,
  mesh: Mesh,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
  """Compiles one update.

  Args:
    loss: the stage's loss.
    optimizer: of the stage.
    config: its settings, for the EMA.
    seed: key that every step's key is folded from.
    state: the state or its shapes, for the shardings.
    mesh: the devices.

  Returns:
    A jitted function from (state, batch) to the next state and scalar
    metrics; the state that is passed in is donated.
  """

  def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(seed, state.step)

    def total(params: Params) -> tuple[jax.Array, Metrics]:
      return loss({**state.frozen, **params}, batch, key)

    gradients, metrics = jax.grad(total, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(
      gradients, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    next_state = state.replace(
      step=state.step + 1,
      params=params,
      ema=update_ema(state.ema, params, state.step, config.ema_decay),
      opt_state=opt_state,
    )
    return next_state, metrics | {"grad_norm": optax.tree.norm(gradients)}

  shardings = state_shardings(state, mesh)
  return jax.jit(
    update,
    in_shardings=(shardings, batch_sharding(mesh)),
    out_shardings=(shardings, NamedSharding(mesh, P())),
    donate_argnums=0,
  )
