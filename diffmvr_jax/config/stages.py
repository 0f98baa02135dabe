"""What a config implies for its stages: networks, and arrays of a window."""

from collections.abc import Sequence
from typing import Literal

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


def trained_networks(config: Config) -> tuple[str, ...]:
  """Names of the networks that the diffusion stage trains.

  Example:
    >>> trained_networks(Config(name="a"))
    ('unet', 'guidance')
  """
  if config.diffusion_stage.objective == "consistency":
    return ("unet",)
  if not is_guided(config.model.unet.branches):
    return ("unet",)
  names = ("unet", "guidance")
  has_clip = config.model.guidance.encoder != "latent"
  return (*names, "clip") if config.model.train_clip and has_clip else names


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
