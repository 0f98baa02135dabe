"""A fresh train state, and the jitted update.

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
from jax.sharding import Mesh
from jax.stages import Wrapped

from diffmvr_jax.checkpoints.training_state import TrainState
from diffmvr_jax.config import OptimizerConfig
from diffmvr_jax.models.diffmvr import Params
from diffmvr_jax.runtime.mesh import spread_over
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.objectives import Loss, Metrics
from diffmvr_jax.training.optimizer import update_ema
from diffmvr_jax.training.sharding import (
  batch_sharding,
  replicated,
  state_shardings,
)


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


def accumulated(gradient: Callable, parts: int) -> Callable:
  """Computes a mean over the batch in parts that follow one another.

  Args:
    gradient: function of (params, batch, keys) that gives a tree of means over
      the batch.
    parts: number of parts; it divides the batch.
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
  state: TrainState,
  mesh: Mesh,
) -> Wrapped:
  """Makes the jitted update.

  Args:
    loss: loss of the stage.
    optimizer: optimizer of the stage.
    config: the optimizer's settings, for EMA and accumulation.
    state: the state or its shapes, for the shardings.
    mesh: the devices.

  Returns:
    A jitted function from (state, batch, seed) to the next state and scalar
    metrics. The state that is passed in is donated. Every step's key is folded
    from the key `seed`, which is an argument so that runs that only differ in
    it share the compiled program.
  """

  def update(
    state: TrainState, batch: Batch, seed: jax.Array
  ) -> tuple[TrainState, Metrics]:
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

  shardings, everywhere = state_shardings(state, mesh), replicated(mesh)
  return jax.jit(
    spread_over(mesh, update),
    in_shardings=(shardings, batch_sharding(mesh), everywhere),
    out_shardings=(shardings, everywhere),
    donate_argnums=0,
  )
