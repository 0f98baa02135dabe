"""Settings out of range, or that contradict each other, are refused first."""

from diffmvr_jax.config.frame_networks import check_frame_networks
from diffmvr_jax.config.networks import ClipVisionConfig
from diffmvr_jax.config.ranges import check_bounds
from diffmvr_jax.config.schema import Config
from diffmvr_jax.config.stages import has_denoiser, is_guided
from diffmvr_jax.errors import InputError


def check(config: Config) -> None:
  """Refuses settings that are out of range, or contradict each other.

  Raises:
    InputError: the first of them, naming the keys.
  """
  check_bounds(config)
  if config.data.in_memory:
    _check_in_memory(config)
  if config.data.encoded is not None:
    _check_encoded(config)
  if config.diffusion_stage.objective == "consistency":
    _check_distillation(config)
  if has_denoiser(config):
    _check_networks(config)
    _check_channels(config)
    _check_sizes(config)
    _check_text(config)
  if config.diffusion.beta_start > config.diffusion.beta_end:
    raise InputError("diffusion.beta_start is more than diffusion.beta_end")
  _check_anchor(config)
  check_frame_networks(config)
  _check_sampling(config)


def _check_in_memory(config: Config) -> None:
  if config.data.encoded or config.diffusion_stage.prior:
    raise InputError(
      "data.in_memory keeps images of one data set: leave out data.encoded and "
      "diffusion_stage.prior"
    )


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
  if config.diffusion.anchor != "none" or config.model.guidance.concat:
    raise InputError(
      "data.encoded does not go with diffusion.anchor or "
      "model.guidance.concat: aligned guidance is not cached"
    )


def _check_distillation(config: Config) -> None:
  if config.init_from is None:
    raise InputError("a distillation needs init_from, the teacher's workdir")
  if (
    config.autoencoder_stage.steps
    or config.fusion_stage.steps
    or config.validation.every
  ):
    raise InputError(
      "a distillation needs autoencoder_stage.steps=0, fusion_stage.steps=0 "
      "and validation.every=0"
    )
  if config.diffusion.steps % config.diffusion_stage.consistency.grid:
    raise InputError(
      "diffusion_stage.consistency.grid does not divide diffusion.steps"
    )


def _check_networks(config: Config) -> None:
  unet, autoencoder = config.model.unet, config.model.autoencoder
  levels = len(unet.block_channels)
  if not levels or not autoencoder.block_channels:
    raise InputError(
      "model.unet.block_channels and model.autoencoder.block_channels need at "
      "least one entry"
    )
  if not len(unet.attention) == len(unet.heads) == levels:
    raise InputError(
      "model.unet.attention and model.unet.heads need one entry per entry of "
      f"model.unet.block_channels ({levels})"
    )
  if len(unet.branches) != len(unet.alpha):
    raise InputError("model.unet.alpha needs one entry per branch")
  _refuse_undivided("model.unet", unet.block_channels, unet.norm_groups)
  attending = [*unet.attention[:-1], True]  # the middle has the last heads
  for channels, heads, attends in zip(
    unet.block_channels, unet.heads, attending, strict=True
  ):
    if attends and channels % heads:
      raise InputError(
        f"model.unet.heads: {heads} does not divide {channels} of "
        "model.unet.block_channels"
      )
  if autoencoder.family == "kl":
    _refuse_undivided(
      "model.autoencoder", autoencoder.block_channels, autoencoder.norm_groups
    )
  if is_guided(unet.branches) and config.model.guidance.encoder != "latent":
    _check_clip(config.model.clip)
  if autoencoder.family == "tiny":
    if len(set(autoencoder.block_channels)) > 1:
      raise InputError(
        "model.autoencoder.family=tiny needs block_channels all alike"
      )
    if autoencoder.scaling_factor != 1.0:
      raise InputError("model.autoencoder.family=tiny needs scaling_factor=1.0")


def _refuse_undivided(
  network: str, channels: tuple[int, ...], groups: int
) -> None:
  if groups and any(count % groups for count in channels):
    raise InputError(
      f"{network}.norm_groups={groups} does not divide all of "
      f"{network}.block_channels={channels}"
    )


def _check_clip(clip: ClipVisionConfig) -> None:
  if clip.image_size % clip.patch_size:
    raise InputError(
      f"model.clip.patch_size={clip.patch_size} does not divide "
      f"model.clip.image_size={clip.image_size}"
    )
  if clip.width % clip.heads:
    raise InputError(
      f"model.clip.heads={clip.heads} does not divide "
      f"model.clip.width={clip.width}"
    )
  if not -clip.layers - 1 <= clip.output_layer <= clip.layers:
    raise InputError(
      f"model.clip.output_layer={clip.output_layer} is no hidden state of "
      f"{clip.layers} layers"
    )


def _check_channels(config: Config) -> None:
  unet, concat = config.model.unet, config.model.guidance.concat
  latent = config.model.autoencoder.latent_channels
  if len(set(concat)) < len(concat):
    raise InputError("model.guidance.concat names an image twice")
  sees_mask = config.model.mask_conditioning == "concat"
  needed = 2 * latent + 1 if sees_mask else latent
  needed += len(concat) * (latent + 1)
  if unet.in_channels != needed or unet.out_channels != latent:
    aligned = f", guidance.concat={concat}" if concat else ""
    raise InputError(
      f"model.mask_conditioning={config.model.mask_conditioning}{aligned} with "
      f"{latent} latent channels needs model.unet.in_channels={needed} and "
      f"model.unet.out_channels={latent}"
    )


def _check_text(config: Config) -> None:
  stage, told = config.diffusion_stage, "text" in config.model.unet.branches
  if config.model.text is not None:
    width, context = config.model.text.width, config.model.unet.context_dim
    if width != context:
      raise InputError(
        f"model.text.width={width} is not model.unet.context_dim={context}"
      )
  elif config.model.train_text:
    raise InputError("model.train_text needs model.text, the tower's sizes")
  for key, used in (
    ("model.text", config.model.text is not None),
    ("diffusion_stage.prior", stage.prior is not None),
  ):
    if used and not told:
      raise InputError(f"{key} needs a text branch in model.unet.branches")
  if stage.prior is not None and (
    stage.objective != "diffusion" or config.data.encoded is not None
  ):
    raise InputError(
      "diffusion_stage.prior goes with diffusion_stage.objective=diffusion "
      "and without data.encoded"
    )


def _check_anchor(config: Config) -> None:
  anchored = config.diffusion.anchor != "none"
  if anchored and config.diffusion.prediction != "sample":
    raise InputError(
      f"diffusion.anchor={config.diffusion.anchor} needs "
      "diffusion.prediction=sample: a network that starts at zero then "
      "predicts the anchor"
    )
  for key, value in (
    ("diffusion.variable", config.diffusion.variable),
    ("sampling.start", config.sampling.start),
  ):
    if anchored and value == "masked":
      raise InputError(
        f"{key}=masked does not go with a diffusion.anchor, from which the "
        "process starts"
      )
  if config.model.decoding == "reference" and not anchored:
    raise InputError(
      "model.decoding=reference needs a diffusion.anchor, whose pixels it adds "
      "to"
    )
  if config.diffusion.anchor == "fused" and config.model.fusion is None:
    raise InputError("diffusion.anchor=fused needs model.fusion")
  if config.autoencoder_stage.steps and not has_denoiser(config):
    raise InputError(
      "autoencoder_stage.steps needs diffusion_stage.steps or sampling.steps: "
      "without a U-Net nothing is encoded"
    )


def _check_sampling(config: Config) -> None:
  unet, sampling = config.model.unet, config.sampling
  if len(sampling.guidance) not in (0, len(unet.branches)):
    raise InputError(
      "sampling.guidance needs one strength per entry of model.unet.branches, "
      + ", ".join(unet.branches)
    )
  if sampling.region == "mask" and unet.query_position:
    raise InputError(
      "sampling.region=mask does not go with model.unet.query_position: "
      "positions are learned for the whole crop"
    )
  if (sampling.detail or 1) > 1 and config.diffusion.anchor == "none":
    raise InputError(
      "sampling.detail above 1 comes from propagation, and needs a "
      "diffusion.anchor"
    )
  if sampling.region == "mask":
    if config.diffusion.anchor == "fused":
      raise InputError(
        "sampling.region=mask does not go with diffusion.anchor=fused: "
        "remembered frames are fused in the whole crop"
      )
    if set(config.model.guidance.concat) - {"propagated"}:
      raise InputError(
        "sampling.region=mask does not go with model.guidance.concat of other "
        "images than propagated: their tokens come from the whole crop"
      )
  if sampling.sampler == "lcm" and sampling.steps > sampling.grid:
    raise InputError("sampling.steps of lcm is at most sampling.grid")
  if sampling.steps > config.diffusion.steps:
    raise InputError(
      f"sampling.steps={sampling.steps} is more than "
      f"diffusion.steps={config.diffusion.steps}"
    )
  if sampling.steps == 0 and config.diffusion.anchor == "none":
    raise InputError(
      "sampling.steps is at least 1; 0 steps need a diffusion.anchor, which "
      "they restore alone"
    )


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
