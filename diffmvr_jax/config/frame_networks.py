"""Rules of fusion, painter and occluder, which work on one frame at a time.

Each is a coarse U-Net over cells, and a fine stage at half the resolution.
"""

from diffmvr_jax.config.networks import (
  FusionConfig,
  OccluderConfig,
  PainterConfig,
)
from diffmvr_jax.config.schema import Config
from diffmvr_jax.errors import InputError


def check_frame_networks(config: Config) -> None:
  """Refuses settings of these networks that contradict each other.

  Raises:
    InputError: the first of them, naming the keys.
  """
  model = config.model
  for name, network, stage in (
    ("fusion", model.fusion, config.fusion_stage),
    ("painter", model.painter, config.painter_stage),
    ("occluder", model.occluder, config.occluder_stage),
  ):
    if network is not None:
      _check_cells(config, f"model.{name}", network)
      if stage.validate_every and not stage.validate_batches:
        raise InputError(
          f"{name}_stage.validate_every needs {name}_stage.validate_batches"
        )
    elif stage.steps:
      raise InputError(f"{name}_stage.steps needs model.{name}")
  if model.painter is not None and config.diffusion.anchor == "none":
    raise InputError(
      "model.painter needs a diffusion.anchor, whose unseen part it paints"
    )


def _check_cells(
  config: Config,
  key: str,
  network: FusionConfig | PainterConfig | OccluderConfig,
) -> None:
  if not network.channels:
    raise InputError(f"{key}.channels needs at least one entry")
  if len(network.channels) != len(network.blocks):
    raise InputError(f"{key}.blocks needs one entry per entry of channels")
  if network.cell % 2:
    raise InputError(f"{key}.cell={network.cell} is odd, and must be even")
  multiple = network.cell * 2 ** (len(network.channels) - 1)
  if config.data.image_size % multiple:
    raise InputError(
      f"data.image_size={config.data.image_size} is not a multiple of "
      f"{multiple}, the total downsampling of {key}"
    )
