"""The optimizer: Adam or AdamW with warm-up and clipping; EMA of parameters."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from diffmvr_jax.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
  """Linear warm-up, then constant, or cosine to zero at `steps`."""
  peak, warmup = config.learning_rate, config.warmup_steps
  if config.decay == "cosine":
    return optax.warmup_cosine_decay_schedule(
      0.0, peak, warmup, max(steps, warmup + 1)
    )
  return optax.warmup_constant_schedule(0.0, peak, warmup)


def make_optimizer(
  config: OptimizerConfig, steps: int
) -> optax.GradientTransformation:
  """Clips by global norm, then Adam with decoupled weight decay.

  Example:
    >>> optimizer = make_optimizer(OptimizerConfig(), steps=10)
    >>> state = optimizer.init({"w": jnp.zeros(2)})
  """
  return optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.adamw(
      learning_rate(config, steps),
      b1=config.b1,
      b2=config.b2,
      eps=config.eps,
      weight_decay=config.weight_decay,
    ),
  )


def update_ema(
  ema: PyTree, params: PyTree, step: Int[Array, ""], decay: float
) -> PyTree:
  """Exponential moving average; its decay rises to `decay` from 0.1.

  The warm-up (1 + n) / (10 + n) is that of TensorFlow's
  `ExponentialMovingAverage`; without it a short run averages in its start.
  """
  count = step.astype(jnp.float32)
  now = jnp.minimum(decay, (1 + count) / (10 + count))
  return jax.tree.map(lambda e, p: e + (1 - now) * (p - e), ema, params)
