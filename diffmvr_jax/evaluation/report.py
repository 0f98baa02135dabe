"""The report: one HTML file that holds all it shows."""

import base64
import html
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from diffmvr_jax.data.windows import Window
from diffmvr_jax.evaluation.summary import cell
from diffmvr_jax.files import write_atomically
from diffmvr_jax.media.video import TimedFrame, VideoInfo
from diffmvr_jax.media.video_writer import VideoWriter
from diffmvr_jax.metrics.clip_metrics import NO_ERROR, frame_similarity
from diffmvr_jax.metrics.definitions import DEFINITIONS

_FPS = 25  # of the players
_RED = np.array([255, 0, 0], np.uint8)  # marks the mask
_PAGE = Path(__file__).with_name("report.html")


def write_page(
  path: Path,
  *,
  title: str,
  model: str,
  summary: Mapping[str, Any],
  players: Sequence[Mapping[str, Any]],
  sheet: Path,
) -> None:
  """Writes the report.

  Its players show input, restoration and truth side by side, with mask and
  difference to be switched on, and scores over time below.

  Args:
    path: the HTML file.
    title: title of the page.
    model: name of the method that the report is about.
    summary: content of `metrics.json`.
    players: clips as `player` makes them, at least one.
    sheet: the contact sheet, a PNG file.
  """
  data = {
    "fps": _FPS,
    "methods": list(summary["methods"]),
    "clips": list(players),
  }
  text = Template(_PAGE.read_text("utf-8")).substitute(
    title=html.escape(title),
    table=_table(model, summary),
    verdict="".join(f"<li>{html.escape(s)}</li>" for s in summary["verdict"]),
    sheet=_base64(sheet),
    definitions=_definitions(summary),
    conditions=_list(summary["conditions"]),
    # Inside a script element only this could end it.
    data=json.dumps(data).replace("</", "<\\/"),
  )
  write_atomically(path, text)


def player(
  name: str, clip: Window, restored: Mapping[str, np.ndarray]
) -> dict[str, Any]:
  """A clip for the page: its video, and its scores over time.

  Args:
    name: name of the clip.
    clip: arrays named as in the data contract, with `target`.
    restored: restored frames by method, (n, h, w, 3) uint8.
  """
  tiles = {
    "frame": clip["frame"],
    "mask": clip["mask"] * _RED,
    "target": clip["target"],
    **restored,
  }
  frames, height, width = clip["frame"].shape[:3]
  columns = math.ceil(math.sqrt(len(tiles)))
  video = _tiled(list(tiles.values()), columns)
  return {
    "name": name,
    "frames": frames,
    "width": width,
    "height": height,
    "columns": columns,
    "tiles": list(tiles),
    "video": f"data:video/webm;base64,{video}",
    "curves": _curves(clip, restored),
  }


def _tiled(tiles: Sequence[np.ndarray], columns: int) -> str:
  """One video of them all, so that no player runs ahead; as base64."""
  frames, height, width = tiles[0].shape[:3]
  rows = math.ceil(len(tiles) / columns)
  info = VideoInfo(
    width=columns * width,
    height=rows * height,
    fps=Fraction(_FPS),
    time_base=Fraction(1, _FPS),
    has_audio=False,
  )
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "tiles.webm"
    with VideoWriter(path, info) as writer:
      for index in range(frames):
        picture = np.zeros((rows * height, columns * width, 3), np.uint8)
        for place, tile in enumerate(tiles):
          y, x = place // columns * height, place % columns * width
          picture[y : y + height, x : x + width] = tile[index]
        writer.write(TimedFrame(picture, index))
    return _base64(path)


def _curves(
  clip: Window, restored: Mapping[str, np.ndarray]
) -> dict[str, dict[str, list[float | None]]]:
  """By metric and method, a value per frame.

  It is None where nothing is covered, and where PSNR is without bounds.
  """
  curves: dict[str, dict[str, list[float | None]]] = {}
  for method, frames in restored.items():
    values = frame_similarity(frames, clip["target"], clip["mask"])
    for name in ("psnr_mask", "ssim_mask"):
      curves.setdefault(DEFINITIONS[name].title, {})[method] = [
        round(float(v), 4) if v < NO_ERROR else None for v in values[name]
      ]
  return curves


def _table(model: str, summary: Mapping[str, Any]) -> str:
  names = list(summary["definitions"])
  head = "".join(f"<th>{DEFINITIONS[name].heading}</th>" for name in names)

  def row(method: str, values: Mapping[str, Any], kind: str) -> str:
    cells = "".join(f"<td>{cell(values, name)}</td>" for name in names)
    return f'<tr class="{kind}"><td>{html.escape(method)}</td>{cells}</tr>'

  rows = [
    row(method, values, "model" if method == model else "")
    for method, values in summary["methods"].items()
  ]
  if summary["truth"]:
    rows.append(row("the truth itself", summary["truth"], "truth"))
  body = "".join(rows)
  return f"<table><tr><th>method</th>{head}</tr>{body}</table>"


def _definitions(summary: Mapping[str, Any]) -> str:
  first = next(iter(summary["methods"].values()))
  entries = {}
  for name, definition in summary["definitions"].items():
    text = definition["definition"]
    if name in first:
      measured = first[name]
      text += f"; {measured['frames']} frames of {measured['videos']} videos"
    for file, digest in definition["weights"].items():
      text += f"; {file}, SHA-256 {digest}"
    entries[definition["title"]] = text
  for name, how in summary["not_computed"].items():
    entries[DEFINITIONS[name].title] = f"not computed: {how}"
  return _list(entries)


def _list(entries: Mapping[str, str]) -> str:
  return "".join(
    f"<dt>{html.escape(key)}</dt><dd>{html.escape(text)}</dd>"
    for key, text in entries.items()
  )


def _base64(path: Path) -> str:
  return base64.b64encode(path.read_bytes()).decode()
