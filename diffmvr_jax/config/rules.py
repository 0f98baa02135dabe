"""Settings that contradict each other are refused before anything runs."""

from diffmvr_jax.config.schema import Config
from diffmvr_jax.errors import InputError


def check(config: Config) -> None:
  """Refuses settings that contradict each other.

  Raises:
    InputError: the first contradiction, naming the keys.
  """
  if config.data.encoded is not None:
    _check_encoded(config)
  if config.diffusion_stage.objective == "consistency":
    _check_distillation(config)
  _check_networks(config)
  _check_sampling(config)
  _check_sizes(config)


def _check_encoded(config: Config) -> None:
  if config.data.flip:
    raise InputError(
      "data.encoded needs data.flip=False: latents of a mirrored image are "
      "not mirrored latents"
    )
  if config.model.train_clip or config.autoencoder_stage.steps:
    raise InputError(
      "data.encoded needs frozen encoders: model.train_clip=False and "
      "autoencoder_stage.steps=0"
    )


def _check_distillation(config: Config) -> None:
  if config.init_from is None:
    raise InputError("a distillation needs init_from, the teacher's workdir")
  if config.autoencoder_stage.steps or config.validation.every:
    raise InputError(
      "a distillation needs autoencoder_stage.steps=0 and validation.every=0"
    )
  if config.diffusion.steps % config.diffusion_stage.consistency.grid:
    raise InputError(
      "diffusion_stage.consistency.grid does not divide diffusion.steps"
    )


def _check_networks(config: Config) -> None:
  unet, autoencoder = config.model.unet, config.model.autoencoder
  levels = len(unet.block_channels)
  if not len(unet.attention) == len(unet.heads) == levels:
    raise InputError(
      "model.unet.attention and model.unet.heads need one entry per entry of "
      f"model.unet.block_channels ({levels})"
    )
  if len(unet.branches) != len(unet.alpha):
    raise InputError("model.unet.alpha needs one entry per branch")
  latent = autoencoder.latent_channels
  concat = config.model.mask_conditioning == "concat"
  needed = 2 * latent + 1 if concat else latent
  if unet.in_channels != needed or unet.out_channels != latent:
    raise InputError(
      f"model.mask_conditioning={config.model.mask_conditioning} with "
      f"{latent} latent channels needs model.unet.in_channels={needed} and "
      f"model.unet.out_channels={latent}"
    )
  if autoencoder.family == "tiny":
    if len(set(autoencoder.block_channels)) > 1:
      raise InputError(
        "model.autoencoder.family=tiny needs block_channels all alike"
      )
    if autoencoder.scaling_factor != 1.0:
      raise InputError("model.autoencoder.family=tiny needs scaling_factor=1.0")


def _check_sampling(config: Config) -> None:
  unet, sampling = config.model.unet, config.sampling
  if len(sampling.guidance) not in (0, len(unet.branches)):
    raise InputError(
      "sampling.guidance needs one strength per entry of model.unet.branches, "
      + ", ".join(unet.branches)
    )
  strengths = dict(zip(unet.branches, sampling.guidance, strict=False))
  if strengths.get("text", 1) != 1:
    raise InputError("sampling.guidance: the text branch's strength must be 1")
  if not 0 < sampling.start_at <= 1:
    raise InputError("sampling.start_at is not above 0 and at most 1")
  if sampling.region == "mask" and unet.query_position:
    raise InputError(
      "sampling.region=mask does not go with model.unet.query_position: "
      "positions are learned for the whole crop"
    )
  if sampling.sampler == "lcm" and sampling.steps > sampling.grid:
    raise InputError("sampling.steps of lcm is at most sampling.grid")
  if sampling.steps < 1 or sampling.window < 1:
    raise InputError("sampling.steps and sampling.window are at least 1")


def _check_sizes(config: Config) -> None:
  size = config.data.image_size
  factor = 2 ** (len(config.model.autoencoder.block_channels) - 1)
  multiple = factor * 2 ** (len(config.model.unet.block_channels) - 1)
  if size % multiple:
    raise InputError(
      f"data.image_size={size} is not a multiple of {multiple}, the total "
      "downsampling of autoencoder and U-Net"
    )
  if config.model.guidance.encoder != "clip":
    patch = config.model.guidance.latent_patch
    if size // factor % patch:
      raise InputError(
        f"model.guidance.latent_patch={patch} does not divide the latent size"
      )
