"""DiffMVR: the networks put together, as pure functions of parameters.

Parameters are one dictionary with an entry per network, `unet`, `guidance`
(f_mlp), `clip` and `autoencoder`, the scalar `scaling_factor`, and for the
text-guided baseline `prompt`, the text tower's output for its prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from diffmvr_jax.config import ModelConfig, is_guided
from diffmvr_jax.models.attention import Context, KeysValues, keys_and_values
from diffmvr_jax.models.clip import ClipVision, preprocess
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.guidance_tokens import GuidanceTokens
from diffmvr_jax.models.tiny_vae import TinyAutoencoder
from diffmvr_jax.models.unet import UNet
from diffmvr_jax.models.vae import Autoencoder

Params = dict[str, Any]

# Of a guidance image: CLIP's tokens and scaled latents, each None where f_mlp
# takes none.
Features = tuple[jax.Array | None, jax.Array | None]

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
  """What the frozen encoders make of windows.

  Attributes:
    mask: the mask at the latents' resolution.
    masked_latents: scaled latents of the frame with the occlusion greyed out.
    features: encodings of the guidance images, by branch.
    exists: whether the guidance image exists, by branch.
  """

  mask: Float[Array, "n i j 1"]
  masked_latents: Float[Array, "n i j l"]
  features: Mapping[str, Features]
  exists: Mapping[str, Bool[Array, " n"]]


@struct.dataclass
class Conditioning:
  """What the U-Net is told, computed once per window.

  Attributes:
    mask: the mask at the latents' resolution.
    masked_latents: scaled latents of the frame with the occlusion greyed out.
    context: context tokens, or the keys and values of them, by branch.
    valid: 1 where the branch has a guidance image, else 0, by branch.
  """

  mask: Float[Array, "n i j 1"]
  masked_latents: Float[Array, "n i j l"]
  context: Context
  valid: Mapping[str, Float[Array, " n"]]


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
    scaling_factor = self.config.autoencoder.scaling_factor
    params: Params = {
      "autoencoder": self.autoencoder.init(keys[0], image)["params"],
      "scaling_factor": jnp.float32(scaling_factor or 1.0),
    }
    branches, context = self.config.unet.branches, {}
    if is_guided(branches):
      params |= self._init_guidance(params, keys[1], keys[2], image)
      features = self.guidance_features(params, image)
      tokens, _ = _apply(self.guidance, params["guidance"], *features)
      context = dict.fromkeys(branches, tokens)
    if "text" in branches:
      shape = (_PROMPT_LENGTH, self.config.unet.context_dim)
      prompt_key = jax.random.fold_in(key, 4)
      params["prompt"] = 0.02 * jax.random.normal(prompt_key, shape)
      context["text"] = params["prompt"][None]
    size = image_size // self.factor
    params["unet"] = self.unet.init(
      keys[3],
      sample=jnp.zeros((1, size, size, self.config.unet.in_channels)),
      timesteps=jnp.zeros(1, jnp.int32),
      context=context,
      valid=dict.fromkeys(branches, jnp.ones(1)),
    )["params"]
    return params

  def _init_guidance(
    self,
    params: Params,
    clip_key: jax.Array,
    guidance_key: jax.Array,
    image: Float[Array, "n h w 3"],
  ) -> Params:
    """CLIP, where f_mlp takes its tokens, and f_mlp."""
    fresh: Params = {}
    if self.config.guidance.encoder != "latent":
      size = self.config.clip.image_size
      clip_image = jnp.zeros((1, size, size, 3))
      fresh["clip"] = self.clip.init(clip_key, clip_image)["params"]
    features = self.guidance_features(params | fresh, image)
    fresh["guidance"] = self.guidance.init(guidance_key, *features)["params"]
    return fresh

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
    images = {"symmetric": to_float(flat["symmetric"]), "present": masked}
    if observation.past is not None:
      images["past"] = to_float(flat["past"])
    exists = existing_images(
      self.config.unet.branches, flat["symmetric_valid"], flat["past_valid"]
    )
    return Encoded(
      mask=mask[:, :: self.factor, :: self.factor],
      masked_latents=self.encode(params, masked),
      features={
        branch: self.guidance_features(params, images[branch])
        for branch in exists
        if branch in images
      },
      exists=exists,
    )

  def contextualise(
    self,
    params: Params,
    encoded: Encoded,
    keep: Mapping[str, Bool[Array, " b"]] | None = None,
  ) -> Conditioning:
    """Turns the encodings of guidance images into context tokens, by f_mlp.

    Args:
      params: parameters of all networks.
      encoded: what the encoders made of the windows.
      keep: by branch, the windows whose guidance images are not dropped; None
        keeps all of them. Training drops some.
    """
    count = encoded.mask.shape[0]
    valid = dict(encoded.exists)
    if keep is not None:
      valid = {
        branch: exists & jnp.repeat(keep[branch], count // keep[branch].size)
        for branch, exists in valid.items()
      }
    context: dict[str, jax.Array] = {
      branch: self.tokens(params, features, valid[branch])
      for branch, features in encoded.features.items()
    }
    if "text" in self.config.unet.branches:
      prompt = params["prompt"]
      context["text"] = jnp.broadcast_to(prompt, (count, *prompt.shape))
      valid["text"] = jnp.ones(count, bool)
    return Conditioning(
      mask=encoded.mask,
      masked_latents=encoded.masked_latents,
      context=context,
      valid={k: v.astype(jnp.float32) for k, v in valid.items()},
    )

  def tokens(
    self,
    params: Params,
    features: Features,
    valid: Bool[Array, " n"],
  ) -> Float[Array, "n k d"]:
    """Context tokens of guidance images.

    The null token takes the place of every token of a missing image. It only
    counts where a frame has no guidance image at all, because attention gives
    a branch without an image no weight.

    Args:
      params: parameters of all networks.
      features: the images' encodings, from `guidance_features`.
      valid: whether the guidance image exists.
    """
    tokens, null = _apply(self.guidance, params["guidance"], *features)
    return jnp.where(valid[:, None, None], tokens, null)

  def attended(
    self, params: Params, branch: str, tokens: Float[Array, "n k d"]
  ) -> KeysValues:
    """Keys and values of a branch's context tokens, for all sampling steps."""
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
    return _apply(
      self.unet,
      params["unet"],
      sample=self.unet_input(noisy, conditioning),
      timesteps=timesteps,
      context=conditioning.context,
      valid=conditioning.valid,
    )

  def unet_input(
    self, noisy: Float[Array, "n i j l"], conditioning: Conditioning
  ) -> Float[Array, "n i j c"]:
    """The noisy latents, joined with what else the U-Net sees of a frame."""
    if self.config.mask_conditioning == "blend":
      return noisy
    return jnp.concatenate(
      [noisy, conditioning.mask, conditioning.masked_latents], axis=-1
    )

  def guidance_features(
    self, params: Params, image: Float[Array, "n h w 3"]
  ) -> Features:
    """Encodings of guidance images, those that f_mlp takes."""
    encoder, clip, latents = self.config.guidance.encoder, None, None
    if encoder in ("clip", "both"):
      clip_image = preprocess(image, self.config.clip.image_size)
      patch, pooled = _apply(self.clip, params["clip"], clip_image)
      is_patch = self.config.guidance.tokens == "patch"
      clip = patch if is_patch else pooled[:, None]
    if encoder in ("latent", "both"):
      latents = self.encode(params, image)
    return clip, latents


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


@lru_cache
def _shapes(model: DiffMVR, image_size: int) -> Params:
  return jax.eval_shape(
    lambda key: model.init(key, image_size), jax.random.key(0)
  )


def _apply(
  module: nn.Module,
  params: Any,
  *inputs: Any,
  method: Any = None,
  **named_inputs: Any,
) -> Any:
  """`Module.apply` for modules whose only state is their parameters."""
  return module.apply(
    {"params": params}, *inputs, method=method, **named_inputs
  )
