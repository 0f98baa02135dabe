"""What is known of windows, and what encoders make of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Float16, UInt8

from diffmvr_jax.models.attention import Context

# Of a guidance image: CLIP's tokens and scaled latents, each None where f_mlp
# takes none.
Features = tuple[jax.Array | None, jax.Array | None]


@struct.dataclass
class Observation:
  """What is known of a batch of windows; aligned guidance is optional.

  Attributes:
    frame: the occluded input.
    mask: 1 on the occlusion, else 0.
    symmetric: the visible half mirrored along the face's axis.
    past: the most recent unobstructed frame; None where the keys and values
      of it are already known.
    symmetric_valid: whether `symmetric` exists.
    past_valid: whether `past` exists.
    propagated: for each covered pixel what was last seen of it.
    propagated_confidence: 0 where nothing was ever seen, 255 where visible.
    sources: remembered frames, as they were.
    source_known: 1 where a remembered frame shows what was seen.
    source_flow: flow from the present to each remembered frame, in pixels.
    source_valid: whether the remembered frame exists.
  """

  frame: UInt8[Array, "b f h w 3"]
  mask: UInt8[Array, "b f h w 1"]
  symmetric: UInt8[Array, "b f _ _ 3"]
  past: UInt8[Array, "b f _ _ 3"] | None
  symmetric_valid: Bool[Array, "b f"]
  past_valid: Bool[Array, "b f"]
  propagated: UInt8[Array, "b f h w 3"] | None = None
  propagated_confidence: UInt8[Array, "b f h w 1"] | None = None
  sources: UInt8[Array, "b f k h w 3"] | None = None
  source_known: UInt8[Array, "b f k h w 1"] | None = None
  source_flow: Float16[Array, "b f k g g 2"] | None = None
  source_valid: Bool[Array, "b f k"] | None = None


def observed(arrays: Mapping[str, Any]) -> Observation:
  """The observation in a batch, which may hold more, such as the target."""
  names = Observation.__annotations__
  return Observation(**{name: arrays[name] for name in names if name in arrays})


@struct.dataclass
class Anchor:
  """What the process of `diffmvr_jax.diffusion.anchor` starts from.

  Attributes:
    image: the anchor's pixels.
    latents: its scaled latents.
  """

  image: Float[Array, "n h w 3"]
  latents: Float[Array, "n i j l"]


@struct.dataclass
class Encoded:
  """What the frozen encoders make of windows.

  Attributes:
    mask: the mask at the latents' resolution.
    masked_latents: scaled latents of the frame with the occlusion greyed out.
    features: encodings of the guidance images, by branch.
    exists: whether the guidance image exists, by branch.
    aligned: latents and validity of the images of `guidance.concat`.
    anchor: None if there is none.
  """

  mask: Float[Array, "n i j 1"]
  masked_latents: Float[Array, "n i j l"]
  features: Mapping[str, Features]
  exists: Mapping[str, Bool[Array, " n"]]
  aligned: Mapping[str, Float[Array, "n i j c"]] = struct.field(
    default_factory=dict
  )
  anchor: Anchor | None = None


@struct.dataclass
class Conditioning:
  """What the U-Net is told, computed once per window.

  Attributes:
    mask: the mask at the latents' resolution.
    masked_latents: scaled latents of the frame with the occlusion greyed out.
    context: context tokens, or the keys and values of them, by branch.
    valid: 1 where the branch has a guidance image, else 0, by branch.
    aligned: latents and validity of the images of `guidance.concat`.
  """

  mask: Float[Array, "n i j 1"]
  masked_latents: Float[Array, "n i j l"]
  context: Context
  valid: Mapping[str, Float[Array, " n"]]
  aligned: Mapping[str, Float[Array, "n i j c"]] = struct.field(
    default_factory=dict
  )


def existing_images(
  branches: Sequence[str],
  symmetric_valid: Bool[Array, " n"],
  past_valid: Bool[Array, " n"],
) -> dict[str, Bool[Array, " n"]]:
  """Whether the guidance image of each branch exists; text has none."""
  exists = {
    "symmetric": symmetric_valid,
    "past": past_valid,
    "present": jnp.ones_like(past_valid),
  }
  return {branch: exists[branch] for branch in branches if branch in exists}
