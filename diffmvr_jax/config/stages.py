"""What a config implies for its stages: networks, and arrays of a window."""

from collections.abc import Sequence
from typing import Literal

from diffmvr_jax.config.networks import ModelConfig
from diffmvr_jax.config.schema import Config


def is_guided(branches: Sequence[str]) -> bool:
  """Whether any branch looks at an image; a text branch alone needs none.

  Example:
    >>> is_guided(("text",))
    False
  """
  return set(branches) != {"text"}


def has_denoiser(config: Config) -> bool:
  """Whether there is a U-Net; a model without one restores its anchor alone.

  There is none if no stage trains it and no restoration runs it:
  `diffusion_stage.steps=0` and `sampling.steps=0`.

  Example:
    >>> has_denoiser(Config(name="a"))
    True
  """
  return config.diffusion_stage.steps > 0 or config.sampling.steps > 0


def clip_tower(model: ModelConfig, branch: str) -> str:
  """Name of the CLIP tower that encodes a branch's guidance image.

  Example:
    >>> clip_tower(ModelConfig(), "past")
    'clip'
  """
  images = [name for name in model.unet.branches if name != "text"]
  if model.guidance.towers == "shared" or branch == images[0]:
    return "clip"
  return f"clip_{branch}"


def clip_towers(model: ModelConfig) -> tuple[str, ...]:
  """Names of all CLIP towers; none if f_mlp takes latents alone.

  Example:
    >>> clip_towers(ModelConfig())
    ('clip',)
  """
  if model.guidance.encoder == "latent":
    return ()
  images = [name for name in model.unet.branches if name != "text"]
  return tuple(dict.fromkeys(clip_tower(model, name) for name in images))


def trained_networks(config: Config) -> tuple[str, ...]:
  """Names of the networks that the diffusion stage trains.

  Example:
    >>> trained_networks(Config(name="a"))
    ('unet', 'guidance')
  """
  if config.diffusion_stage.objective == "consistency":
    return ("unet",)
  names: tuple[str, ...] = ("unet",)
  if config.model.train_text:
    names += ("text_encoder",)
  if is_guided(config.model.unet.branches):
    names += ("guidance",)
    if config.model.train_clip:
      names += clip_towers(config.model)
  return names


def needed_arrays(
  config: Config,
  stage: Literal["autoencoder", "fusion", "diffusion"] = "diffusion",
) -> tuple[str, ...]:
  """Names of the arrays of aligned guidance that a stage reads of a window.

  Args:
    config: one experiment.
    stage: "fusion", "diffusion", or "autoencoder", which needs none.

  Example:
    >>> needed_arrays(Config(name="a"))
    ()
  """
  propagated = ("propagated", "propagated_confidence")
  sources = ("sources", "source_known", "source_flow", "source_valid")
  anchor = config.diffusion.anchor
  if stage == "fusion" or (stage == "diffusion" and anchor == "fused"):
    return (*propagated, *sources)
  concat = "propagated" in config.model.guidance.concat
  if stage == "diffusion" and (anchor != "none" or concat):
    return propagated
  return ()
