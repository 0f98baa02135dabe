"""Attention by blocks of queries, so that few scores are held at a time.

On a TPU, and on a GPU where cuDNN does not take them, the blocks follow one
another, each with all heads: the scores of 4096 tokens would otherwise be most
of a training step's memory.

XLA's CPU backend is slow at batched matrix products, and the scores of all
heads at once do not fit a cache. So there one head follows the other, and of
each a block of queries whose scores are a few megabytes. For the gradient (Dao
et al. 2022, Algorithm 4, without its loop over keys) the scores are made
again: with P = softmax(QKᵀ/√d), O = PV and the incoming gradient Ō,

  V̄ = PᵀŌ     P̄ = ŌVᵀ     S̄ = P ∘ (P̄ − rowsum(Ō ∘ O))               (a)
  Q̄ = S̄K/√d   K̄ = S̄ᵀQ/√d                                           (b)
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

# Scores of one head in a block, 4 MB: about what a CPU's core has of the
# last-level cache, and on an accelerator a small part of what a step needs.
_BLOCK_SCORES = 2**20


def blockwise_attention(
  query: Float[Array, "n q head c"],
  key: Float[Array, "n k head c"],
  value: Float[Array, "n k head c"],
) -> Float[Array, "n q head c"]:
  """`jax.nn.dot_product_attention`, some queries after the others.

  For the gradient the scores are made again.

  Example:
    >>> x = jnp.ones((1, 4, 2, 8))
    >>> blockwise_attention(x, x, x).shape
    (1, 4, 2, 8)
  """
  blocks = _blocks(query.shape[1], key.shape[1])
  if blocks == 1:
    return jax.nn.dot_product_attention(query, key, value)

  @jax.checkpoint
  def attend_block(queries: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(queries, key, value)

  queries = rearrange(query, "b (n q) h d -> n b q h d", n=blocks)
  out = jax.lax.map(attend_block, queries)
  return rearrange(out, "n b q h d -> b (n q) h d")


@jax.custom_vjp
def headwise_attention(
  query: Float[Array, "n q head c"],
  key: Float[Array, "n k head c"],
  value: Float[Array, "n k head c"],
) -> Float[Array, "n q head c"]:
  """What `jax.nn.dot_product_attention` gives, in float32 throughout.

  Example:
    >>> x = jnp.ones((1, 4, 2, 8))
    >>> headwise_attention(x, x, x).shape
    (1, 4, 2, 8)
  """
  return _forward(query, key, value)[0]


def _forward(
  query: jax.Array, key: jax.Array, value: jax.Array
) -> tuple[jax.Array, tuple]:
  heads = tuple(_heads_first(x) for x in (query, key, value))
  out, log_sum = jax.lax.map(_attend_head, heads)
  result = _heads_last(out, query.shape).astype(query.dtype)
  return result, (query, key, value, out, log_sum)


def _attend_head(head: tuple) -> tuple[jax.Array, jax.Array]:
  query, key, value = head
  scale = query.shape[-1] ** -0.5

  def block(queries: jax.Array) -> tuple[jax.Array, jax.Array]:
    scores = (queries * scale) @ key.T
    largest = scores.max(-1, keepdims=True)
    weights = jnp.exp(scores - largest)
    total = weights.sum(-1, keepdims=True)
    return (weights @ value) / total, (largest + jnp.log(total))[:, 0]

  blocks = _split(query, key)
  if blocks.shape[0] == 1:
    return block(query)
  out, log_sum = jax.lax.map(block, blocks)
  return out.reshape(query.shape), log_sum.reshape(-1)


def _backward(residuals: tuple, gradient: jax.Array) -> tuple:
  query, key, value, out, log_sum = residuals
  heads = tuple(_heads_first(x) for x in (query, key, value, gradient))
  gradients = jax.lax.map(_differentiate_head, (*heads, out, log_sum))
  return tuple(
    _heads_last(x, like.shape).astype(like.dtype)
    for x, like in zip(gradients, (query, key, value), strict=True)
  )


def _differentiate_head(head: tuple) -> tuple:
  query, key, value, gradient, out, log_sum = head
  scale = query.shape[-1] ** -0.5
  inner = (gradient * out).sum(-1)

  def block(sums: tuple, inputs: tuple) -> tuple[tuple, jax.Array]:
    key_sum, value_sum = sums
    queries, gradients, row_sums, inners = inputs
    weights = jnp.exp((queries * scale) @ key.T - row_sums[:, None])
    value_sum += weights.T @ gradients
    scores = weights * (gradients @ value.T - inners[:, None])  # (a)
    key_sum += scores.T @ queries * scale  # (b)
    return (key_sum, value_sum), scores @ key * scale

  count = _split(query, key).shape[0]
  inputs = tuple(
    x.reshape(count, -1, *x.shape[1:])
    for x in (query, gradient, log_sum, inner)
  )
  zeros = (jnp.zeros_like(key), jnp.zeros_like(value))
  if count == 1:
    sums, queries = block(zeros, tuple(x[0] for x in inputs))
  else:
    sums, queries = jax.lax.scan(block, zeros, inputs)
  return (queries.reshape(query.shape), *sums)


def _split(query: jax.Array, key: jax.Array) -> jax.Array:
  blocks = _blocks(query.shape[0], key.shape[0])
  return query.reshape(blocks, -1, query.shape[1])


def _blocks(queries: int, keys: int) -> int:
  """The fewest equal blocks of queries that are small enough."""
  blocks = 1
  while queries * keys > blocks * _BLOCK_SCORES and blocks < queries:
    blocks += 1
    while queries % blocks:
      blocks += 1
  return blocks


def _heads_first(x: jax.Array) -> jax.Array:
  batch, length, heads, width = x.shape
  x = x.astype(jnp.float32).transpose(0, 2, 1, 3)
  return x.reshape(batch * heads, length, width)


def _heads_last(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  batch, length, heads, width = shape
  return x.reshape(batch, heads, length, width).transpose(0, 2, 1, 3)


headwise_attention.defvjp(_forward, _backward)
