"""A process that starts from an image that is known, its anchor.

With z the latents of the truth, a those of the anchor, and s the size of what
the anchor lacks under the mask, the process of `diffmvr_jax.diffusion.schedule`
runs on

  r = (z − a) / s                                                   (a)
  z = a + s r                                                       (b)

so that a network that predicts r = 0 restores the anchor, and one that is
trained from there adds what it lacks. ResShift (Yue et al. 2023) and I²SB (Liu
et al. 2023) shift the process alike. An autoencoder D loses detail; what is
the anchor's own need not pass it:

  pixels = A + D(a + s r) − D(a)                                    (c)

with A the anchor's pixels.
"""

from jaxtyping import Array, Float


def to_residual(
  latents: Float[Array, "n i j l"],
  anchor: Float[Array, "n i j l"],
  scale: Float[Array, ""],
) -> Float[Array, "n i j l"]:
  """The residual r, formula (a)."""
  return (latents - anchor) / scale


def to_latents(
  residual: Float[Array, "n i j l"],
  anchor: Float[Array, "n i j l"],
  scale: Float[Array, ""],
) -> Float[Array, "n i j l"]:
  """The latents z, formula (b); undoes `to_residual`."""
  return anchor + scale * residual


def corrected(
  anchor: Float[Array, "n h w 3"],
  decoded: Float[Array, "n h w 3"],
  decoded_anchor: Float[Array, "n h w 3"],
) -> Float[Array, "n h w 3"]:
  """Pixels of a restoration, formula (c).

  Example:
    >>> import jax.numpy as jnp
    >>> half = jnp.full((1, 2, 2, 3), 0.5)
    >>> float(corrected(half, 0.3 * half, 0.3 * half).max())
    0.5
  """
  return anchor + (decoded - decoded_anchor)
