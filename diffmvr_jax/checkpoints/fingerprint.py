"""A fingerprint of frozen parameters, the same however they are sharded."""

import hashlib
import re

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped, UInt32

from diffmvr_jax.models.diffmvr import Params

_ENCODER = re.compile("autoencoder|clip(_.*)?|scaling_factor")


def is_encoder(network: str) -> bool:
  """Whether a network is a frozen encoder's, by its name.

  Example:
    >>> is_encoder("clip_past")
    True
  """
  return _ENCODER.fullmatch(network) is not None


def encoder_fingerprint(params: Params) -> str:
  """SHA-256 over a checksum of every parameter of the frozen encoders.

  Args:
    params: parameters by network, of which only the encoders' count.
  """
  chosen = {n: params[n] for n in params if is_encoder(n)}
  digest = hashlib.sha256()
  checksums = jax.jit(lambda tree: jax.tree.map(_checksum, tree))(chosen)
  for path, value in jax.tree.leaves_with_path(checksums):
    digest.update(f"{jax.tree_util.keystr(path)}={int(value)};".encode())
  return digest.hexdigest()


def _checksum(x: Shaped[Array, "..."]) -> UInt32[Array, ""]:
  """A sum of integers that wrap around, so that their order does not matter."""
  bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
  place = jnp.arange(bits.size, dtype=jnp.uint32) * jnp.uint32(2654435761)
  return jnp.sum(bits.ravel() * (place | 1), dtype=jnp.uint32)
