"""Attention by cuDNN's flash attention, on NVIDIA GPUs since Ampere.

The scores never leave the chip. Written to memory, those of 4096 tokens would
take most of a training step's time.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LARGEST_HEAD = 128  # more channels only on some GPUs


def cudnn_attention(
  query: Float[Array, "n q head c"],
  key: Float[Array, "n k head c"],
  value: Float[Array, "n k head c"],
) -> Float[Array, "n q head c"]:
  """What `jax.nn.dot_product_attention` gives, on a CUDA device only."""
  batch, keys = key.shape[:2]
  # Its gradient wants even numbers of queries and keys.
  out = jax.nn.dot_product_attention(
    _even(query),
    _even(key),
    _even(value),
    key_value_seq_lengths=jnp.full(batch, keys) if keys % 2 else None,
    implementation="cudnn",
  )
  return out[:, : query.shape[1]]


def _even(tokens: Float[Array, "n t head c"]) -> Float[Array, "n _ head c"]:
  if tokens.shape[1] % 2 == 0:
    return tokens
  return jnp.pad(tokens, ((0, 0), (0, 1), (0, 0), (0, 0)))


def cudnn_takes(query: Float[Array, "n q head c"]) -> bool:
  """Whether `cudnn_attention` can be traced, and takes heads like these.

  Example:
    >>> cudnn_takes(jnp.ones((1, 16, 2, 512), jnp.bfloat16))
    False
  """
  channels = query.shape[-1]
  return (
    query.dtype in (jnp.bfloat16, jnp.float16)
    and channels % 8 == 0
    and channels <= _LARGEST_HEAD
    and _cudnn_is_there()
  )


@functools.cache
def _cudnn_is_there() -> bool:
  """JAX looks for cuDNN when it traces, also on a machine without a GPU."""
  if jax.default_backend() == "gpu":
    capability = jax.local_devices()[0].compute_capability
    if not capability[0].isdigit() or float(capability) < 8.0:
      return False
  x = jax.ShapeDtypeStruct((1, 8, 1, 8), jnp.bfloat16)
  attention = functools.partial(
    jax.nn.dot_product_attention, implementation="cudnn"
  )
  try:
    jax.eval_shape(attention, x, x, x)
  except RuntimeError:
    return False
  return True
