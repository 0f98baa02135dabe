"""DiffMVR: the networks put together, as pure functions of parameters.

Parameters are one dictionary with an entry per network, `unet`, `guidance`
(f_mlp), `clip` and `autoencoder`, and the scalar `scaling_factor`; with an
anchor the scalar `residual_scale`; if the configuration has them, `fusion`,
`flow_prior` and `occluder`; and for the text-guided baseline `prompt`, the text
tower's output for its prompt. A model that is its anchor alone has `fusion`,
`flow_prior` and `occluder` at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from diffmvr_jax.config import Config, ModelConfig, has_denoiser, is_guided
from diffmvr_jax.models.attention import KeysValues, keys_and_values
from diffmvr_jax.models.clip import ClipVision, preprocess
from diffmvr_jax.models.flow_prior import empty_prior
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.fusion import Fusion
from diffmvr_jax.models.guidance_tokens import GuidanceTokens
from diffmvr_jax.models.observation import (
  Anchor,
  Conditioning,
  Encoded,
  Features,
  Observation,
  existing_images,
)
from diffmvr_jax.models.occluder import Occluder
from diffmvr_jax.models.sightings import blank_sightings, sightings_of
from diffmvr_jax.models.tiny_vae import TinyAutoencoder
from diffmvr_jax.models.unet import UNet
from diffmvr_jax.models.vae import Autoencoder
from diffmvr_jax.models.warping import pooled

Params = dict[str, Any]

_PROMPT_LENGTH = 77  # of CLIP's text tower


@dataclass(frozen=True, kw_only=True)
class DiffMVR:
  """The composition; holds no parameters.

  Attributes:
    config: configuration of the networks.
    anchor: what the diffusion process starts from, `diffusion.anchor`.
    denoises: whether there is such a process; else there is the anchor alone.

  Example:
    >>> model = DiffMVR(config=ModelConfig())
    >>> sorted(model.shapes(image_size=512))
    ['autoencoder', 'clip', 'guidance', 'scaling_factor', 'unet']
  """

  config: ModelConfig
  anchor: Literal["none", "propagated", "fused"] = "none"
  denoises: bool = True

  @classmethod
  def of(cls, config: Config) -> "DiffMVR":
    """The networks of an experiment."""
    return cls(
      config=config.model,
      anchor=config.diffusion.anchor,
      denoises=has_denoiser(config),
    )

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

  @cached_property
  def fusion(self) -> Fusion:
    """The network that fuses remembered frames."""
    assert self.config.fusion is not None
    return Fusion(self.config.fusion, jnp.dtype(self.config.dtype))

  @cached_property
  def occluder(self) -> Occluder:
    """The network that tells what covers a face."""
    assert self.config.occluder is not None
    return Occluder(self.config.occluder, jnp.dtype(self.config.dtype))

  @property
  def factor(self) -> int:
    """Pixels per latent, along one axis."""
    return 2 ** (len(self.config.autoencoder.block_channels) - 1)

  def shapes(self, image_size: int) -> Params:
    """Shapes and types of what `init` gives, traced once in a process."""
    return jax.tree.map(lambda leaf: leaf, _shapes(self, image_size))  # a copy

  def init(self, key: jax.Array, image_size: int) -> Params:
    """Random parameters of every network."""
    params: Params = {}
    if self.config.fusion is not None:
      params |= self._init_fusion(jax.random.fold_in(key, 5), image_size)
    if self.config.occluder is not None:
      crop = jnp.zeros((1, image_size, image_size, 3))
      params["occluder"] = self.occluder.init(
        jax.random.fold_in(key, 6), crop, crop, jnp.array([True])
      )["params"]
    if self.denoises:
      params |= self._init_denoising(key, image_size)
    return params

  def _init_denoising(self, key: jax.Array, image_size: int) -> Params:
    """Autoencoder, guidance and U-Net."""
    keys = jax.random.split(key, 4)
    image = jnp.zeros((1, image_size, image_size, 3))
    scaling_factor = self.config.autoencoder.scaling_factor
    params: Params = {
      "autoencoder": self.autoencoder.init(keys[0], image)["params"],
      "scaling_factor": jnp.float32(scaling_factor or 1.0),
    }
    if self.anchor != "none":
      params["residual_scale"] = jnp.float32(1)
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

  def _init_fusion(self, key: jax.Array, image_size: int) -> Params:
    """The fusion network, and the prior of its flows if there is one."""
    config = self.config.fusion
    assert config is not None
    blank = blank_sightings(image_size, config.sources)
    fresh: Params = {"fusion": self.fusion.init(key, blank)["params"]}
    if config.flow_components:
      fresh["flow_prior"] = empty_prior(config.flow_components)
    return fresh

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
    anchor = None
    if self.anchor != "none":
      pixels = self.anchor_image(params, observation)
      anchor = Anchor(image=pixels, latents=self.encode(params, pixels))
    return Encoded(
      mask=mask[:, :: self.factor, :: self.factor],
      masked_latents=self.encode(params, masked),
      features={
        branch: self.guidance_features(params, images[branch])
        for branch in exists
        if branch in images
      },
      exists=exists,
      aligned=self._aligned(params, flat, images, anchor),
      anchor=anchor,
    )

  def anchor_image(
    self, params: Params, observation: Observation
  ) -> Float[Array, "n h w 3"]:
    """What the process starts from: the frame, and a guess under the mask."""
    if self.anchor == "fused":
      filling = self.fused(params, observation)
    else:
      assert observation.propagated is not None
      filling = to_float(flatten_frames(observation.propagated))
    frame = to_float(flatten_frames(observation.frame))
    return jnp.where(flatten_frames(observation.mask) > 0, filling, frame)

  def fused(
    self, params: Params, observation: Observation
  ) -> Float[Array, "n h w 3"]:
    """The fusion network's image, inside and outside of the mask."""
    assert self.config.fusion is not None
    seen = sightings_of(
      observation, self.config.fusion.sources, params.get("flow_prior")
    )
    return _apply(self.fusion, params["fusion"], seen)

  def covered(
    self,
    params: Params,
    crop: Float[Array, "n h w 3"],
    free: Float[Array, "n h w 3"],
    free_valid: Bool[Array, " n"],
  ) -> Float[Array, "n h w 1"]:
    """Logits of the probability that pixels are covered, see `Occluder`."""
    return _apply(self.occluder, params["occluder"], crop, free, free_valid)

  def _aligned(
    self,
    params: Params,
    flat: Mapping[str, jax.Array],
    images: Mapping[str, jax.Array],
    anchor: Anchor | None,
  ) -> dict[str, Float[Array, "n i j c"]]:
    """Latents and validity of the images of `guidance.concat`.

    With an anchor, its latents stand for the propagated image's.
    """
    aligned: dict[str, jax.Array] = {}
    for name in self.config.guidance.concat:
      if name == "propagated":
        sure = flat["propagated_confidence"].astype(jnp.float32) / 255
        valid = pooled(sure, self.factor)
        if anchor is None:
          latents = self.encode(params, to_float(flat["propagated"]))
        else:
          latents = anchor.latents
      else:
        latents = self.encode(params, images[name])
        there = flat[f"{name}_valid"][:, None, None, None]
        valid = jnp.broadcast_to(there, (*latents.shape[:3], 1))
        latents = latents * valid
      aligned[name] = jnp.concatenate([latents, valid], -1)
    return aligned

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
    valid, aligned = dict(encoded.exists), dict(encoded.aligned)
    for branch, windows in (keep or {}).items():
      kept = jnp.repeat(windows, count // windows.size)
      if branch in valid:
        valid[branch] = valid[branch] & kept
      if branch in aligned:
        aligned[branch] = aligned[branch] * kept[:, None, None, None]
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
      aligned=aligned,
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
    """The U-Net's output for noisy latents: ε, v, or clean latents."""
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
    parts = [noisy]
    if self.config.mask_conditioning == "concat":
      parts += [conditioning.mask, conditioning.masked_latents]
    parts += [conditioning.aligned[n] for n in self.config.guidance.concat]
    return jnp.concatenate(parts, axis=-1) if len(parts) > 1 else noisy

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
