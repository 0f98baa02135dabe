"""Video clips drawn from still portraits."""

from data_prep.portraits.clip import (
  FRAMES,
  Portrait,
  PortraitClip,
  PortraitFrame,
  load,
  mesh_file,
  portrait_clip,
)

__all__ = [
  "FRAMES",
  "Portrait",
  "PortraitClip",
  "PortraitFrame",
  "load",
  "mesh_file",
  "portrait_clip",
]
