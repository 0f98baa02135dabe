"""DiffMVR: the networks put together, as pure functions of parameters.

Windows are `(batch, frame, height, width, channel)`; the networks see
`(batch · frame, …)`. Parameters are one dictionary with an entry per network,
`unet`, `guidance`, `clip` and `autoencoder`, the scalar `scaling_factor`, and
for the text-guided baseline `prompt`, the text tower's output for its prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from flax import struct
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt8

from diffmvr_jax.config import ModelConfig, is_guided
from diffmvr_jax.models.attention import Context, KeysValues, keys_and_values
from diffmvr_jax.models.clip import ClipVision, preprocess
from diffmvr_jax.models.guidance_tokens import GuidanceTokens
from diffmvr_jax.models.tiny_vae import TinyAutoencoder
from diffmvr_jax.models.unet import UNet
from diffmvr_jax.models.vae import Autoencoder

Params = dict[str, Any]

_PROMPT_LENGTH = 77  # of CLIP's text tower


@struct.dataclass
class Observation:
  """What is known of a batch of windows.

  Attributes:
    frame: the occluded input.
    mask: 1 on the occlusion, else 0.
    symmetric: the visible half mirrored along the face's axis.
    past: the most recent unobstructed frame; None where the keys and values
      of it are already known.
    symmetric_valid: whether `symmetric` exists.
    past_valid: whether `past` exists.
  """

  frame: UInt8[Array, "b f h w 3"]
  mask: UInt8[Array, "b f h w 1"]
  symmetric: UInt8[Array, "b f _ _ 3"]
  past: UInt8[Array, "b f _ _ 3"] | None
  symmetric_valid: Bool[Array, "b f"]
  past_valid: Bool[Array, "b f"]


@struct.dataclass
class Encoded:
  """What the frozen encoders make of windows; n is batch · frame.

  Attributes:
    mask: the mask at the latents' resolution.
    masked_latents: scaled latents of the frame with the occlusion greyed out.
    features: of each branch's guidance image: CLIP's tokens and scaled
      latents, each None where f_mlp takes none.
    exists: whether a branch's guidance image exists.
  """

  mask: Float[Array, "n i j 1"]
  masked_latents: Float[Array, "n i j l"]
  features: Mapping[str, tuple[jax.Array | None, jax.Array | None]]
  exists: Mapping[str, Bool[Array, " n"]]


@struct.dataclass
class Conditioning:
  """What the U-Net is told, computed once per window; n is batch · frame.

  Attributes:
    mask: the mask at the latents' resolution.
    masked_latents: scaled latents of the frame with the occlusion greyed out.
    context: by branch, guidance tokens or what attention makes of them.
    valid: 1 where a branch's guidance exists, by branch.
  """

  mask: Float[Array, "n i j 1"]
  masked_latents: Float[Array, "n i j l"]
  context: Context
  valid: Mapping[str, Float[Array, " n"]]


def to_float(image: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
  """uint8 in [0, 255] to float32 in [−1, 1]."""
  return image.astype(jnp.float32) / 127.5 - 1


def to_uint8(image: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
  """Float in [−1, 1] to uint8, clipped and rounded."""
  scaled = jnp.round((image + 1) * 127.5)
  return jnp.clip(scaled, 0, 255).astype(jnp.uint8)


@dataclass(frozen=True, kw_only=True)
class DiffMVR:
  """The composition; holds no parameters.

  Example:
    >>> model = DiffMVR(config=ModelConfig())
    >>> sorted(model.shapes(image_size=512))
    ['autoencoder', 'clip', 'guidance', 'scaling_factor', 'unet']
  """

  config: ModelConfig

  @cached_property
  def unet(self) -> UNet:
    """The denoiser."""
    return UNet(
      self.config.unet, jnp.dtype(self.config.dtype), self.config.remat
    )

  @cached_property
  def autoencoder(self) -> Autoencoder | TinyAutoencoder:
    """Image to latents and back."""
    tiny = self.config.autoencoder.family == "tiny"
    family = TinyAutoencoder if tiny else Autoencoder
    return family(self.config.autoencoder, jnp.dtype(self.config.dtype))

  @cached_property
  def clip(self) -> ClipVision:
    """The guidance images' encoder."""
    return ClipVision(self.config.clip, jnp.dtype(self.config.dtype))

  @cached_property
  def guidance(self) -> GuidanceTokens:
    """f_mlp."""
    return GuidanceTokens(
      self.config.guidance,
      self.config.unet.context_dim,
      jnp.dtype(self.config.dtype),
    )

  @property
  def factor(self) -> int:
    """Pixels per latent, along one axis."""
    return 2 ** (len(self.config.autoencoder.block_channels) - 1)

  def shapes(self, image_size: int) -> Params:
    """Shapes and types of what `init` gives, traced once in a process."""
    return jax.tree.map(lambda leaf: leaf, _shapes(self, image_size))  # a copy

  def init(self, key: jax.Array, image_size: int) -> Params:
    """Random parameters of every network."""
    keys = jax.random.split(key, 4)
    image = jnp.zeros((1, image_size, image_size, 3))
    params: Params = {
      "autoencoder": self.autoencoder.init(keys[0], image)["params"]
    }
    scaling_factor = self.config.autoencoder.scaling_factor
    params["scaling_factor"] = jnp.float32(scaling_factor or 1.0)
    branches = self.config.unet.branches
    context = {}
    if is_guided(branches):
      if self.config.guidance.encoder != "latent":
        size = self.config.clip.image_size
        clip_image = jnp.zeros((1, size, size, 3))
        params["clip"] = self.clip.init(keys[1], clip_image)["params"]
      inputs = self.guidance_features(params, image)
      params["guidance"] = self.guidance.init(keys[2], *inputs)["params"]
      tokens, _ = _apply(self.guidance, params["guidance"], *inputs)
      context = dict.fromkeys(branches, tokens)
    if "text" in branches:
      shape = (_PROMPT_LENGTH, self.config.unet.context_dim)
      params["prompt"] = 0.02 * jax.random.normal(
        jax.random.fold_in(key, 4), shape
      )
      context["text"] = params["prompt"][None]
    size = image_size // self.factor
    params["unet"] = self.unet.init(
      keys[3],
      jnp.zeros((1, size, size, self.config.unet.in_channels)),
      jnp.zeros(1, jnp.int32),
      context,
      dict.fromkeys(branches, jnp.ones(1)),
    )["params"]
    return params

  def moments(
    self, params: Params, image: Float[Array, "n h w 3"]
  ) -> tuple[Float[Array, "n i j l"], Float[Array, "n i j l"]]:
    """Mean and standard deviation of the scaled latents of images."""
    mean, log_variance = _apply(
      self.autoencoder, params["autoencoder"], image, method="encode"
    )
    scale = params["scaling_factor"]
    return mean * scale, jnp.exp(0.5 * log_variance) * scale

  def encode(
    self, params: Params, image: Float[Array, "n h w 3"]
  ) -> Float[Array, "n i j l"]:
    """Scaled mean latents of images in [−1, 1]."""
    return self.moments(params, image)[0]

  def decode(
    self, params: Params, latents: Float[Array, "n i j l"]
  ) -> Float[Array, "n h w 3"]:
    """Images of scaled latents."""
    return _apply(
      self.autoencoder,
      params["autoencoder"],
      latents / params["scaling_factor"],
      method="decode",
    )

  def condition(self, params: Params, observation: Observation) -> Conditioning:
    """Encodes everything that stays fixed over the sampling steps."""
    return self.contextualise(params, self.observe(params, observation))

  def observe(self, params: Params, observation: Observation) -> Encoded:
    """Runs the encoders, which the diffusion stage may leave frozen."""
    flat = jax.tree.map(flatten_frames, vars(observation))
    frame, mask = to_float(flat["frame"]), flat["mask"].astype(jnp.float32)
    masked = frame * (1 - mask)
    images = {
      "symmetric": to_float(flat["symmetric"]),
      "present": masked,
    }
    if observation.past is not None:
      images["past"] = to_float(flat["past"])
    exists = {
      "symmetric": flat["symmetric_valid"],
      "past": flat["past_valid"],
      "present": jnp.ones_like(flat["past_valid"]),
    }
    branches = [b for b in self.config.unet.branches if b in exists]
    return Encoded(
      mask=mask[:, :: self.factor, :: self.factor],
      masked_latents=self.encode(params, masked),
      features={
        b: self.guidance_features(params, images[b])
        for b in branches
        if b in images
      },
      exists={b: exists[b] for b in branches},
    )

  def contextualise(
    self,
    params: Params,
    encoded: Encoded,
    keep: Mapping[str, Bool[Array, " b"]] | None = None,
  ) -> Conditioning:
    """Turns features into context tokens, by f_mlp.

    Args:
      params: all parameters.
      encoded: the windows.
      keep: by branch, windows whose guidance is not dropped (training).
    """
    context, valid = {}, {}
    for name in self.config.unet.branches:
      if name == "text":
        prompt, n = params["prompt"], encoded.mask.shape[0]
        context[name] = jnp.broadcast_to(prompt, (n, *prompt.shape))
        valid[name] = jnp.ones(n, bool)
        continue
      valid[name] = encoded.exists[name]
      if keep is not None:
        frames = valid[name].size // keep[name].size
        valid[name] &= jnp.repeat(keep[name], frames)
      if name in encoded.features:
        context[name] = self.tokens(params, encoded.features[name], valid[name])
    return Conditioning(
      mask=encoded.mask,
      masked_latents=encoded.masked_latents,
      context=context,
      valid={k: v.astype(jnp.float32) for k, v in valid.items()},
    )

  def tokens(
    self,
    params: Params,
    features: tuple[jax.Array | None, jax.Array | None],
    valid: Bool[Array, " n"],
  ) -> Float[Array, "n k d"]:
    """Context tokens of guidance images.

    A missing one's are the null token. They count only where the frame has no
    guidance at all, since attention gives a missing branch no weight.

    Args:
      params: all parameters.
      features: as `guidance_features` gives them.
      valid: whether the guidance image exists.
    """
    tokens, null = _apply(self.guidance, params["guidance"], *features)
    return jnp.where(valid[:, None, None], tokens, null)

  def attended(
    self, params: Params, branch: str, tokens: Float[Array, "n k d"]
  ) -> KeysValues:
    """Keys and values of a branch's tokens, for all sampling steps."""
    dtype = jnp.dtype(self.config.dtype)
    return keys_and_values(params["unet"], branch, tokens, dtype)

  def predict(
    self,
    params: Params,
    noisy: Float[Array, "n i j l"],
    timesteps: Int[Array, " n"],
    conditioning: Conditioning,
  ) -> Float[Array, "n i j l"]:
    """The U-Net's output for noisy latents: ε or v."""
    if self.config.mask_conditioning == "concat":
      noisy = jnp.concatenate(
        [noisy, conditioning.mask, conditioning.masked_latents], axis=-1
      )
    return _apply(
      self.unet,
      params["unet"],
      noisy,
      timesteps,
      conditioning.context,
      conditioning.valid,
    )

  def guidance_features(
    self, params: Params, image: Float[Array, "n h w 3"]
  ) -> tuple[jax.Array | None, jax.Array | None]:
    """CLIP's tokens and the scaled latents, each if f_mlp takes them."""
    encoder, clip, latents = self.config.guidance.encoder, None, None
    if encoder in ("clip", "both"):
      patch, pooled = _apply(
        self.clip,
        params["clip"],
        preprocess(image, self.config.clip.image_size),
      )
      is_patch = self.config.guidance.tokens == "patch"
      clip = patch if is_patch else pooled[:, None]
    if encoder in ("latent", "both"):
      latents = self.encode(params, image)
    return clip, latents


@lru_cache
def _shapes(model: DiffMVR, image_size: int) -> Params:
  return jax.eval_shape(
    lambda key: model.init(key, image_size), jax.random.key(0)
  )


def _apply(
  module: nn.Module, params: Any, *inputs: Any, method: Any = None
) -> Any:
  """`Module.apply` for modules whose only state is their parameters."""
  return module.apply({"params": params}, *inputs, method=method)


def flatten_frames(x: Shaped[Array, "b f *s"]) -> Shaped[Array, "n *s"]:
  """Merges batch and frame.

  Within a mesh that spreads frames over devices, every device gets its share:
  left alone, the compiler would compute all frames of several windows on each.
  """
  flat = x.reshape(-1, *x.shape[2:])
  mesh = jax.sharding.get_abstract_mesh()
  # A part of an accumulated batch can be too small for all devices.
  if mesh.shape.get("frame", 1) == 1 or flat.shape[0] % mesh.size:
    return flat
  return jax.lax.with_sharding_constraint(flat, P(("data", "fsdp", "frame")))


def split_frames(
  x: Shaped[Array, "n *s"], frames: int
) -> Shaped[Array, "b f *s"]:
  """Undoes `flatten_frames`."""
  return rearrange(x, "(b f) ... -> b f ...", f=frames)
