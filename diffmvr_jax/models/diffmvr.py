"""DiffMVR: the networks put together, as pure functions of parameters."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from diffmvr_jax.config import Config, has_denoiser
from diffmvr_jax.models.attention import KeysValues, keys_and_values
from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.networks import (
  PROMPTS,
  Networks,
  Params,
  apply_network,
)
from diffmvr_jax.models.observation import (
  Anchor,
  Conditioning,
  Encoded,
  Features,
  Observation,
  existing_images,
)
from diffmvr_jax.models.sightings import sightings_of
from diffmvr_jax.models.warping import pooled

__all__ = ["PROMPTS", "DiffMVR", "Params"]


class DiffMVR(Networks):
  """The composition; holds no parameters, see `Networks`.

  Example:
    >>> from diffmvr_jax.config import ModelConfig
    >>> model = DiffMVR(config=ModelConfig())
    >>> sorted(model.shapes(image_size=512))
    ['autoencoder', 'clip', 'guidance', 'scaling_factor', 'unet']
  """

  @classmethod
  def of(cls, config: Config) -> "DiffMVR":
    """The networks of an experiment."""
    return cls(
      config=config.model,
      anchor=config.diffusion.anchor,
      denoises=has_denoiser(config),
    )

  def decode(
    self, params: Params, latents: Float[Array, "n i j l"]
  ) -> Float[Array, "n h w 3"]:
    """Images of scaled latents."""
    return apply_network(
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
        branch: self.guidance_features(params, images[branch], branch)
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
    image = jnp.where(flatten_frames(observation.mask) > 0, filling, frame)
    if self.config.painter is None:
      return image
    return self._completed(params, observation, image)

  def _completed(
    self,
    params: Params,
    observation: Observation,
    image: Float[Array, "n h w 3"],
  ) -> Float[Array, "n h w 3"]:
    """Paints what nobody has seen; costs little if there is nothing."""
    assert observation.propagated_confidence is not None
    seen = flatten_frames(observation.propagated_confidence) > 0
    mask = flatten_frames(observation.mask) > 0
    hole = (mask & ~seen).astype(jnp.float32)
    symmetric = to_float(flatten_frames(observation.symmetric))
    valid = flatten_frames(observation.symmetric_valid).astype(jnp.float32)

    def paint(image: jax.Array) -> jax.Array:
      painted = self.painted_evenly(params, image, hole, symmetric, valid)
      share = softened(hole)
      return jnp.where(mask, image + share * (painted - image), image)

    return jax.lax.cond(hole.any(), paint, lambda image: image, image)

  def painted(
    self,
    params: Params,
    image: Float[Array, "n h w 3"],
    hole: Float[Array, "n h w 1"],
    symmetric: Float[Array, "n h w 3"],
    symmetric_valid: Float[Array, " n"],
  ) -> Float[Array, "n h w 3"]:
    """What the painter puts into holes, see `Painter`."""
    inputs = image, hole, symmetric, symmetric_valid
    return apply_network(self.painter, params["painter"], *inputs)

  def painted_evenly(
    self,
    params: Params,
    image: Float[Array, "n h w 3"],
    hole: Float[Array, "n h w 1"],
    symmetric: Float[Array, "n h w 3"],
    symmetric_valid: Float[Array, " n"],
  ) -> Float[Array, "n h w 3"]:
    """The mean of what the painter makes of a face and of its mirror image.

    Both are as likely, and errors of one are not those of the other.
    """

    def both(x: jax.Array) -> jax.Array:
      return jnp.concatenate([x, x[:, :, ::-1]])

    painted = self.painted(
      params,
      image=both(image),
      hole=both(hole),
      symmetric=both(symmetric),
      symmetric_valid=jnp.concatenate([symmetric_valid] * 2),
    )
    one, mirrored = jnp.split(painted, 2)
    return (one + mirrored[:, :, ::-1]) / 2

  def fused(
    self, params: Params, observation: Observation
  ) -> Float[Array, "n h w 3"]:
    """The fusion network's image, inside and outside of the mask."""
    assert self.config.fusion is not None
    seen = sightings_of(
      observation, self.config.fusion.sources, params.get("flow_prior")
    )
    return apply_network(self.fusion, params["fusion"], seen)

  def covered(
    self,
    params: Params,
    crop: Float[Array, "n h w 3"],
    free: Float[Array, "n h w 3"],
    free_valid: Bool[Array, " n"],
  ) -> Float[Array, "n h w 1"]:
    """Logits of the probability that pixels are covered, see `Occluder`."""
    return apply_network(
      self.occluder, params["occluder"], crop, free, free_valid
    )

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
    prompt: str = "prompt",
  ) -> Conditioning:
    """Turns the encodings of guidance images into context tokens, by f_mlp.

    Args:
      params: parameters of all networks.
      encoded: what the encoders made of the windows.
      keep: by branch, the windows whose guidance images are not dropped; None
        keeps all of them. Training drops some. A text branch that is dropped
        gets the empty prompt.
      prompt: which of `PROMPTS` a text branch is told.
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
      prompts = self.prompts(params).astype(jnp.float32)
      told = prompts[PROMPTS.index(prompt)]
      context["text"] = jnp.broadcast_to(told, (count, *told.shape))
      valid["text"] = jnp.ones(count, bool)
      if keep is not None and "text" in keep:
        kept = jnp.repeat(keep["text"], count // keep["text"].size)
        context["text"] = jnp.where(
          kept[:, None, None], told, prompts[PROMPTS.index("empty")]
        )
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
    tokens, null = apply_network(self.guidance, params["guidance"], *features)
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
    return apply_network(
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


def softened(hole: Float[Array, "n h w 1"]) -> Float[Array, "n h w 1"]:
  """1 in a hole, and less and less within a few pixels around it."""
  window, strides = (5, 5), (1, 1)
  grown = nn.max_pool(hole, window, strides, "SAME")
  return jnp.maximum(hole, nn.avg_pool(grown, window, strides, "SAME"))
