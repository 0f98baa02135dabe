"""The networks of a model, and their parameters before training.

Parameters are one dictionary with an entry per network, `unet`, `guidance`
(f_mlp), `clip` and `autoencoder`, and the scalar `scaling_factor`; with
separate towers `clip_BRANCH` for each branch but the first; with an anchor the
scalar `residual_scale`; if the configuration has them, `fusion`, `flow_prior`,
`painter` and `occluder`; and for a text branch `prompts`, the text tower's
output for the three of `PROMPTS`, or `text_encoder` and `prompt_tokens`. A
model that is its anchor alone has `fusion`, `flow_prior`, `painter` and
`occluder` at most.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from diffmvr_jax.config import (
  ModelConfig,
  clip_tower,
  clip_towers,
  is_guided,
)
from diffmvr_jax.models.clip import ClipText, ClipVision, preprocess
from diffmvr_jax.models.flow_prior import empty_prior
from diffmvr_jax.models.fusion import Fusion
from diffmvr_jax.models.guidance_tokens import GuidanceTokens
from diffmvr_jax.models.observation import Features
from diffmvr_jax.models.occluder import Occluder
from diffmvr_jax.models.painter import Painter
from diffmvr_jax.models.sightings import blank_sightings
from diffmvr_jax.models.tiny_vae import TinyAutoencoder
from diffmvr_jax.models.unet import UNet
from diffmvr_jax.models.vae import Autoencoder

Params = dict[str, Any]

# The rows of `prompts`: what the branch is told, nothing at all, and what it is
# told of images that show the class alone, see `PriorConfig`.
PROMPTS = ("prompt", "empty", "class")
_PROMPT_LENGTH = 77  # of CLIP's text tower


@dataclass(frozen=True, kw_only=True)
class Networks:
  """Which networks there are; holds no parameters.

  Attributes:
    config: configuration of the networks.
    anchor: what the diffusion process starts from, `diffusion.anchor`.
    denoises: whether there is such a process; else there is the anchor alone.
  """

  config: ModelConfig
  anchor: Literal["none", "propagated", "fused"] = "none"
  denoises: bool = True

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
  def text_encoder(self) -> ClipText:
    """The prompts' encoder."""
    assert self.config.text is not None
    return ClipText(self.config.text, jnp.dtype(self.config.dtype))

  @cached_property
  def fusion(self) -> Fusion:
    """The network that fuses remembered frames."""
    assert self.config.fusion is not None
    return Fusion(self.config.fusion, jnp.dtype(self.config.dtype))

  @cached_property
  def painter(self) -> Painter:
    """The network that paints what nobody has seen."""
    assert self.config.painter is not None
    return Painter(self.config.painter, jnp.dtype(self.config.dtype))

  @cached_property
  def occluder(self) -> Occluder:
    """The network that tells what covers a face."""
    assert self.config.occluder is not None
    return Occluder(self.config.occluder, jnp.dtype(self.config.dtype))

  @property
  def _first_image(self) -> str:
    return next(b for b in self.config.unet.branches if b != "text")

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
    crop = jnp.zeros((1, image_size, image_size, 3))
    if self.config.painter is not None:
      params["painter"] = self.painter.init(
        jax.random.fold_in(key, 7), crop, crop[..., :1], crop, jnp.ones(1)
      )["params"]
    if self.config.occluder is not None:
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
      features = self.guidance_features(params, image, self._first_image)
      tokens, _ = apply_network(self.guidance, params["guidance"], *features)
      context = dict.fromkeys(branches, tokens)
    if "text" in branches:
      params |= self._init_text(jax.random.fold_in(key, 4))
      context["text"] = self.prompts(params)[:1]
    size = image_size // self.factor
    params["unet"] = self.unet.init(
      keys[3],
      sample=jnp.zeros((1, size, size, self.config.unet.in_channels)),
      timesteps=jnp.zeros(1, jnp.int32),
      context=context,
      valid=dict.fromkeys(branches, jnp.ones(1)),
    )["params"]
    return params

  def _init_text(self, key: jax.Array) -> Params:
    """The text tower and the prompts' words, or what it makes of them."""
    text = self.config.text
    if text is None:
      shape = (len(PROMPTS), _PROMPT_LENGTH, self.config.unet.context_dim)
      return {"prompts": 0.02 * jax.random.normal(key, shape)}
    tokens = jnp.zeros((len(PROMPTS), text.length), jnp.int32)
    return {
      "text_encoder": self.text_encoder.init(key, tokens)["params"],
      "prompt_tokens": tokens,
    }

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
    size = self.config.clip.image_size
    for tower in clip_towers(self.config):  # all start alike
      clip_image = jnp.zeros((1, size, size, 3))
      fresh[tower] = self.clip.init(clip_key, clip_image)["params"]
    features = self.guidance_features(params | fresh, image, self._first_image)
    fresh["guidance"] = self.guidance.init(guidance_key, *features)["params"]
    return fresh

  def moments(
    self, params: Params, image: Float[Array, "n h w 3"]
  ) -> tuple[Float[Array, "n i j l"], Float[Array, "n i j l"]]:
    """Mean and standard deviation of the scaled latents of images."""
    mean, log_variance = apply_network(
      self.autoencoder, params["autoencoder"], image, method="encode"
    )
    scale = params["scaling_factor"]
    return mean * scale, jnp.exp(0.5 * log_variance) * scale

  def encode(
    self, params: Params, image: Float[Array, "n h w 3"]
  ) -> Float[Array, "n i j l"]:
    """Scaled mean latents of images in [−1, 1]."""
    return self.moments(params, image)[0]

  def prompts(self, params: Params) -> Float[Array, "3 k d"]:
    """Context tokens of each of `PROMPTS`."""
    if self.config.text is None:
      return params["prompts"]
    tokens = params["prompt_tokens"].astype(jnp.int32)
    return apply_network(self.text_encoder, params["text_encoder"], tokens)

  def guidance_features(
    self, params: Params, image: Float[Array, "n h w 3"], branch: str
  ) -> Features:
    """Encodings of a branch's guidance images, those that f_mlp takes."""
    encoder, clip, latents = self.config.guidance.encoder, None, None
    if encoder in ("clip", "both"):
      clip_image = preprocess(image, self.config.clip.image_size)
      tower = params[clip_tower(self.config, branch)]
      patch, pooled = apply_network(self.clip, tower, clip_image)
      is_patch = self.config.guidance.tokens == "patch"
      clip = patch if is_patch else pooled[:, None]
    if encoder in ("latent", "both"):
      latents = self.encode(params, image)
    return clip, latents


@lru_cache
def _shapes(model: Networks, image_size: int) -> Params:
  return jax.eval_shape(
    lambda key: model.init(key, image_size), jax.random.key(0)
  )


def apply_network(
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
