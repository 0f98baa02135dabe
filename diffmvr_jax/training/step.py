"""Train state, the two stages' losses, and the jitted update.

The update is `jax.jit` with explicit shardings and a donated state: what
`pmap` compiles to today, without its reshapes. Each window of the global batch
has a key of its own, folded from seed, step and row, so it gets the same noise
on any mesh and with any accumulation.
"""

from collections.abc import Callable
from functools import partial
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
  min_snr_weight,
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
# Of parameters, a batch, one key per window, and the updates applied so far.
Loss = Callable[
  [Params, Batch, jax.Array, jax.Array], tuple[jax.Array, Metrics]
]


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
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    del step
    frames = batch["target"].shape[1]
    image = flatten_frames(to_float(batch["target"]))
    mean, deviation = model.moments(params, image)
    shape = (frames, *mean.shape[1:])
    noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
    latents = mean + deviation * flatten_frames(noise)
    decoded = model.decode(params, latents)
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
  stage, motion = config.diffusion_stage, config.diffusion_stage.motion
  branches = model.config.unet.branches
  noise_share = config.diffusion.noise_share

  def draw(key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """All that is random of one window."""
    keys = jax.random.split(key, 4)
    return (
      jax.random.normal(keys[0], shape),
      window_noise(keys[1], (1, *shape), noise_share)[0],
      # One timestep per window: Eq. (4) compares frames at the same T.
      jax.random.randint(keys[2], (), 0, config.diffusion.steps),
      jax.random.bernoulli(
        keys[3], 1 - config.model.guidance.dropout, (len(branches),)
      ),
    )

  def loss(
    params: Params, batch: Batch, keys: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    frames = batch["frame"].shape[1]
    mean, deviation = model.moments(
      params, flatten_frames(to_float(batch["target"]))
    )
    drawn = jax.vmap(lambda key: draw(key, (frames, *mean.shape[1:])))(keys)
    sample, noise, timesteps, keep = drawn
    noise = flatten_frames(noise)
    clean = mean + deviation * flatten_frames(sample)
    timesteps = jnp.repeat(timesteps, frames)
    noisy = add_noise(schedule, clean, noise, timesteps)
    conditioning = model.condition(
      params,
      Observation(**{k: batch[k] for k in Observation.__annotations__}),
      keep=dict(zip(branches, keep.T, strict=True)),
    )
    output = model.predict(params, noisy, timesteps, conditioning)
    target = training_target(schedule, clean, noise, timesteps)
    weight = 1 + (stage.mask_weight - 1) * conditioning.mask
    denoising = denoising_loss(output, target, weight)
    if stage.min_snr_gamma is not None:
      denoising *= min_snr_weight(schedule, timesteps, stage.min_snr_gamma)
    denoising = jnp.mean(denoising)
    subject = motion_subject(motion.on, schedule, noisy, output, timesteps)
    reference = clean if motion.relative_to == "target" else None
    consistency = motion_loss(
      split_frames(subject, frames),
      None if reference is None else split_frames(reference, frames),
    )
    rise = jnp.minimum(1.0, step / max(motion.warmup_steps, 1))
    scale = rise if motion.warmup_steps else 1.0
    total = denoising + motion.weight * scale * consistency
    return total, {
      "loss": total,
      "denoising": denoising,
      "motion": consistency,
    }

  return loss


def accumulated(gradient: Callable, parts: int) -> Callable:
  """Computes a mean over the batch in parts that follow one another.

  Args:
    gradient: of (params, batch, keys), a tree of means over the batch.
    parts: divides the batch.
  """
  if parts == 1:
    return gradient

  def split(x: jax.Array) -> jax.Array:
    # Every device keeps its own windows: part m has the rows m, m + parts, …
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:])
    return jnp.moveaxis(x, 1, 0)

  def mean(params: Params, batch: Batch, keys: jax.Array) -> Any:
    def add(total: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, None]:
      value = gradient(params, *part)
      return jax.tree.map(lambda t, v: t + v / parts, total, value), None

    shapes = jax.eval_shape(gradient, params, batch, keys)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, jax.tree.map(split, (batch, keys)))[0]

  return mean


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
    config: its settings, for EMA and accumulation.
    seed: key that every step's key is folded from.
    state: the state or its shapes, for the shardings.
    mesh: the devices.

  Returns:
    A jitted function from (state, batch) to the next state and scalar
    metrics; the state that is passed in is donated.
  """

  def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    rows = jnp.arange(next(iter(batch.values())).shape[0])
    keys = jax.vmap(
      partial(jax.random.fold_in, jax.random.fold_in(seed, state.step))
    )(rows)

    def total(
      params: Params, batch: Batch, keys: jax.Array
    ) -> tuple[jax.Array, Metrics]:
      return loss({**state.frozen, **params}, batch, keys, state.step)

    gradients, metrics = accumulated(
      jax.grad(total, has_aux=True), config.accumulate
    )(state.params, batch, keys)
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
