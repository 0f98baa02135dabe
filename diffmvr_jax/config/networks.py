"""Settings of the networks, `model.*`, as frozen dataclasses.

As in `schema`, the type of every number says its range too.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from diffmvr_jax.command_line.bounds import (
  Bounds,
  Positive,
  ShareBelowOne,
)

Channels = Annotated[int, Bounds(1, 2**16)]
Layers = Annotated[int, Bounds(1, 256)]
NormGroups = Annotated[int, Bounds(0, 2**16)]  # 0: no normalisation
Pixels = Annotated[int, Bounds(1, 2**13)]  # along one side of an image
Factor = Annotated[float, Bounds(-1000, 1000)]


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
  """Latent U-Net; the defaults are Stable Diffusion 1.5's."""

  in_channels: Channels = 9  # noisy latent 4, mask 1, masked-frame latent 4
  out_channels: Channels = 4
  block_channels: tuple[Channels, ...] = (320, 640, 1280, 1280)
  attention: tuple[bool, ...] = (True, True, True, False)
  heads: tuple[Channels, ...] = (8, 8, 8, 8)
  layers_per_block: Layers = 2
  context_dim: Channels = 768
  norm_groups: NormGroups = 32
  branches: tuple[Literal["symmetric", "past", "present", "text"], ...] = (
    "symmetric",
    "past",
  )
  alpha: tuple[Factor, ...] = (0.5, 0.5)
  alpha_mode: Literal["fixed", "learned"] = "fixed"
  query_position: bool = False  # add a position code to attn2's queries


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
  """Autoencoder; the defaults are Stable Diffusion 1.5's.

  `scaling_factor` None means: measured at the end of the autoencoder stage,
  so that latents have unit variance. The family "tiny" is TAESD's: all of
  `block_channels` alike, no `norm_groups` or `mid_attention`, scale 1.
  """

  family: Literal["kl", "tiny"] = "kl"
  block_channels: tuple[Channels, ...] = (128, 256, 512, 512)
  layers_per_block: Layers = 2
  latent_channels: Channels = 4
  # Small autoencoders learn better with 0.
  norm_groups: NormGroups = 32
  mid_attention: bool = True
  pooled_blocks: bool = False  # tiny: a normalised branch, as in TAEF2
  scaling_factor: Positive | None = 0.18215


@dataclass(frozen=True, kw_only=True)
class ClipVisionConfig:
  """CLIP vision tower; the defaults are ViT-L/14's."""

  image_size: Pixels = 224
  patch_size: Pixels = 14
  width: Channels = 1024
  layers: Layers = 24
  heads: Channels = 16
  mlp_dim: Channels = 4096
  projection_dim: Channels = 768
  # Whose hidden states are the patch tokens; -2, as IP-Adapter takes them,
  # leaves out the layer that only the projected vector was trained through.
  output_layer: Annotated[int, Bounds(-257, 256)] = -2


@dataclass(frozen=True, kw_only=True)
class ClipTextConfig:
  """CLIP text tower; the defaults are Stable Diffusion 1.5's (ViT-L/14)."""

  vocabulary: Annotated[int, Bounds(1, 2**20)] = 49408
  length: Annotated[int, Bounds(1, 2**16)] = 77
  width: Channels = 768
  layers: Layers = 12
  heads: Channels = 12
  mlp_dim: Channels = 3072
  activation: Literal["quick_gelu", "gelu"] = "quick_gelu"


@dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
  """How a guidance image becomes context tokens."""

  encoder: Literal["clip", "latent", "both"] = "clip"
  tokens: Literal["patch", "pooled"] = "patch"
  hidden_dim: Channels = 1024
  latent_patch: Pixels = 2
  # Per branch, training only; a dropped text becomes the empty prompt.
  dropout: ShareBelowOne = 0.1
  # "separate" has a CLIP tower for each branch, as appendix B reads; they
  # differ only if they are trained.
  towers: Literal["shared", "separate"] = "shared"
  # Guidance images that lie where the face lies: the U-Net's input gets the
  # latents of each, and a map of where they are valid.
  concat: tuple[Literal["propagated", "symmetric", "past"], ...] = ()


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
  """Network that fuses remembered frames, see `diffmvr_jax.models.fusion`.

  `channels` and `blocks` are those of the coarse U-Net, level by level.
  """

  # The first so many of `data_prep.faces.propagated.SOURCES`.
  sources: Annotated[int, Bounds(1, 4)] = 4
  cell: Annotated[int, Bounds(2, 64)] = 4  # pixels, of the coarse U-Net
  channels: tuple[Channels, ...] = (64, 128, 192)
  blocks: tuple[Layers, ...] = (1, 2, 2)
  features: Channels = 24  # that the coarse U-Net hands to the fine stage
  fine_channels: Channels = 32
  fine_blocks: Annotated[int, Bounds(0, 256)] = 1
  max_shift: Positive = 12.0  # pixels by which a flow can be corrected
  # Of the flow prior; 0: flows are taken as they are.
  flow_components: Annotated[int, Bounds(0, 4096)] = 0


@dataclass(frozen=True, kw_only=True)
class PainterConfig:
  """Network that paints what nobody has seen, see `diffmvr_jax.models.painter`.

  `channels` and `blocks` are those of the coarse U-Net, level by level.
  """

  cell: Annotated[int, Bounds(2, 64)] = 4  # pixels, of the coarse U-Net
  channels: tuple[Channels, ...] = (64, 128, 192, 192)
  blocks: tuple[Layers, ...] = (1, 1, 2, 2)
  features: Channels = 32  # that the coarse U-Net hands to the fine stage
  fine_channels: Channels = 24
  fine_blocks: Annotated[int, Bounds(0, 256)] = 1


@dataclass(frozen=True, kw_only=True)
class OccluderConfig:
  """Network that tells what covers a face, see `diffmvr_jax.models.occluder`.

  `channels` and `blocks` are those of the coarse U-Net, level by level.
  """

  reach: Annotated[int, Bounds(1, 16)] = 3  # of `models.local_search`
  cell: Annotated[int, Bounds(2, 64)] = 4  # pixels, of the coarse U-Net
  channels: tuple[Channels, ...] = (48, 72, 96, 128)
  blocks: tuple[Layers, ...] = (1, 2, 2, 2)
  features: Channels = 16  # that the coarse U-Net hands to the fine stage
  fine_channels: Channels = 20
  fine_blocks: Annotated[int, Bounds(0, 256)] = 2


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """The networks, and which of them the diffusion stage trains."""

  unet: UNetConfig = field(default_factory=UNetConfig)
  autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
  clip: ClipVisionConfig = field(default_factory=ClipVisionConfig)
  guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
  fusion: FusionConfig | None = None
  painter: PainterConfig | None = None
  occluder: OccluderConfig | None = None
  # "none" tells the U-Net nothing of the mask, and puts nothing back.
  mask_conditioning: Literal["concat", "blend", "none"] = "concat"
  # "reference" adds to the anchor's pixels what decoding says has changed.
  decoding: Literal["plain", "reference"] = "plain"
  train_clip: bool = False
  # The text branch's tower, which can then be trained; None keeps only what it
  # makes of the prompts.
  text: ClipTextConfig | None = None
  train_text: bool = False
  dtype: Literal["float32", "bfloat16"] = "float32"
  # What the U-Net's backward pass computes again to save memory: nothing; all
  # but the matrix products ("dots"); or every block from its input ("full").
  remat: Literal["none", "dots", "full"] = "none"
