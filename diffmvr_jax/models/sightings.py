"""What the fusion network takes: a frame, and what was seen before it."""

from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from diffmvr_jax.models.flow_prior import completed
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.observation import Observation


@struct.dataclass
class Sightings:
  """What was seen of frames; images are in [−1, 1].

  Attributes:
    frame: the occluded frame; what is under the mask is not used.
    mask: 1 on the occlusion.
    propagated: the propagated image, c.
    confidence: of the propagated image, in [0, 1].
    sources: other frames as they were, I_k.
    known: 1 where a source shows what was seen.
    flow: from the present to each source, in pixels, f_k.
    valid: 1 if the source exists.
    symmetric: the symmetric image, S.
    symmetric_valid: 1 if there is a symmetric image.
  """

  frame: Float[Array, "n h w 3"]
  mask: Float[Array, "n h w 1"]
  propagated: Float[Array, "n h w 3"]
  confidence: Float[Array, "n h w 1"]
  sources: Float[Array, "n k h w 3"]
  known: Float[Array, "n k h w 1"]
  flow: Float[Array, "n k g g 2"]
  valid: Float[Array, "n k"]
  symmetric: Float[Array, "n h w 3"]
  symmetric_valid: Float[Array, " n"]


def sightings_of(
  observation: Observation,
  sources: int,
  prior: Mapping[str, jax.Array] | None = None,
) -> Sightings:
  """What the network takes of windows.

  Args:
    observation: windows with all of their aligned guidance.
    sources: how many of the remembered frames to take, from the first on.
    prior: completes the flows under the mask; None takes them as they are.
  """
  flat = {
    name: None if value is None else flatten_frames(value)
    for name, value in vars(observation).items()
  }
  seen = cast(dict[str, jax.Array], flat)

  def number(name: str) -> jax.Array:
    return seen[name].astype(jnp.float32)

  mask, flow = number("mask"), number("source_flow")[:, :sources]
  if prior is not None:
    masks = jnp.repeat(mask, flow.shape[1], 0)
    each = flow.reshape(-1, *flow.shape[2:])
    flow = completed(prior, each, masks).reshape(flow.shape)
  return Sightings(
    frame=to_float(seen["frame"]),
    mask=mask,
    propagated=to_float(seen["propagated"]),
    confidence=number("propagated_confidence") / 255,
    sources=to_float(seen["sources"][:, :sources]),
    known=number("source_known")[:, :sources],
    flow=flow,
    valid=number("source_valid")[:, :sources],
    symmetric=to_float(seen["symmetric"]),
    symmetric_valid=number("symmetric_valid"),
  )


def blank_sightings(size: int, sources: int) -> Sightings:
  """Grey images of one frame, from which shapes follow."""
  image, one = jnp.zeros((1, size, size, 3)), jnp.ones((1, size, size, 1))
  many = (1, sources, size, size)
  return Sightings(
    frame=image,
    mask=one,
    propagated=image,
    confidence=one,
    sources=jnp.zeros((*many, 3)),
    known=jnp.ones((*many, 1)),
    flow=jnp.zeros((1, sources, size // 2, size // 2, 2)),
    valid=jnp.ones((1, sources)),
    symmetric=image,
    symmetric_valid=jnp.ones(1),
  )
