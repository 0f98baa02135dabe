"""A contact sheet: frames as columns, what was made of them as rows."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_LABEL_WIDTH = 104  # pixels
_GAP = 2


def contact_sheet(
  rows: Mapping[str, Sequence[np.ndarray]], tile: int = 128
) -> Image.Image:
  """Draws labelled rows of square images.

  Args:
    rows: by label, the same number of (h, w, 3) or (h, w, 1) uint8 images.
    tile: side of a tile, in pixels.

  Example:
    >>> sheet = contact_sheet({"input": [np.zeros((8, 8, 3), np.uint8)] * 2})
    >>> sheet.size
    (364, 130)
  """
  columns = len(next(iter(rows.values())))
  step = tile + _GAP
  size = (_LABEL_WIDTH + columns * step, len(rows) * step)
  sheet = Image.new("RGB", size, "white")
  draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
  for r, (label, images) in enumerate(rows.items()):
    draw.text((6, r * step + tile // 2 - 8), label, fill="black", font=font)
    for c, image in enumerate(images):
      pixels = np.broadcast_to(image, (*image.shape[:2], 3))
      # Small crops are shown as they are, pixel by pixel.
      resample = (
        Image.Resampling.NEAREST
        if len(image) <= tile
        else Image.Resampling.LANCZOS
      )
      picture = Image.fromarray(pixels).resize((tile, tile), resample)
      sheet.paste(picture, (_LABEL_WIDTH + c * step, r * step))
  return sheet
