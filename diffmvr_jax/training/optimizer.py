"""The optimizer: warm-up, clipping, freezing; and the parameters' EMA."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from diffmvr_jax.config import OptimizerConfig
from diffmvr_jax.errors import InputError


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
  """Linear warm-up, then constant, or cosine to zero at `steps`."""
  highest, warmup = config.learning_rate, config.warmup_steps
  if config.decay == "cosine":
    after = optax.cosine_decay_schedule(highest, max(steps - warmup, 1))
  else:
    after = optax.constant_schedule(highest)
  if not warmup:  # optax would stay at 0 for ever
    return after
  rising = optax.linear_schedule(0.0, highest, warmup)
  return optax.join_schedules([rising, after], [warmup])


def make_optimizer(
  config: OptimizerConfig, steps: int
) -> optax.GradientTransformation:
  """Clips by global norm, then AdamW or Adafactor; some parameters may rest.

  Example:
    >>> optimizer = make_optimizer(OptimizerConfig(), steps=10)
    >>> state = optimizer.init({"w": jnp.zeros(2)})
  """
  rate = learning_rate(config, steps)
  if config.kind == "adamw":
    rule = optax.adamw(
      rate,
      b1=config.b1,
      b2=config.b2,
      eps=config.eps,
      weight_decay=config.weight_decay,
    )
  else:
    rule = optax.adafactor(
      rate,
      multiply_by_parameter_scale=False,
      weight_decay_rate=config.weight_decay or None,
    )
  rule = optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
  if not config.freeze:
    return rule
  return optax.partition(
    {"trained": rule, "frozen": optax.set_to_zero()},
    lambda params: frozen_labels(params, config.freeze),
  )


def frozen_labels(params: PyTree, patterns: Sequence[str]) -> PyTree:
  """Labels each parameter `frozen` or `trained`.

  Args:
    params: nested dictionaries.
    patterns: regular expressions that match whole paths.

  Raises:
    InputError: a pattern matches nothing, or everything is frozen.

  Example:
    >>> frozen_labels({"unet": {"a": 1, "b": 2}}, ["unet/a"])
    {'unet': {'a': 'frozen', 'b': 'trained'}}
  """
  unused = set(patterns)

  def label(path: tuple, _: Any) -> str:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    matching = [p for p in patterns if re.fullmatch(p, name)]
    unused.difference_update(matching)
    return "frozen" if matching else "trained"

  labels = jax.tree.map_with_path(label, params)
  if unused:
    raise InputError(f"optimizer.freeze: {min(unused)!r} matches no parameter")
  if "trained" not in jax.tree.leaves(labels):
    raise InputError("optimizer.freeze: nothing is left to train")
  return labels


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
