"""The report page: self-contained HTML with tables, sheet and video."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path

from diffmvr_jax.metrics.score import Scores

# (key, title, digits, whether larger is better)
_COLUMNS = (
  ("psnr_mask", "PSNR in mask, dB ↑", 2, True),
  ("ssim_mask", "SSIM in mask ↑", 4, True),
  ("tc_mask", "TC in mask ↓", 5, False),
  ("psnr", "PSNR, dB ↑", 2, True),
  ("ssim", "SSIM ↑", 4, True),
  ("tc", "TC ↓", 5, False),
)
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; color: #1d2430; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .35rem .8rem; text-align: right;
  border-bottom: 1px solid #d8dde6; }
th:first-child, td:first-child { text-align: left; }
tr.model td { font-weight: 600; background: #eef4ff; }
img, video { max-width: 100%; border: 1px solid #d8dde6; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1rem; }
"""


def verdict(model: str, methods: Mapping[str, Scores]) -> list[str]:
  """Says in sentences which other methods the model beats, by what.

  Example:
    >>> verdict("ours", {"ours": {"psnr_mask": 3.0}, "b": {"psnr_mask": 2.0}})
    ['PSNR in mask: ours beats b.']
  """
  sentences = []
  for key, title, _, larger in _COLUMNS[:3]:
    if key not in methods[model]:
      continue
    own = methods[model][key]
    groups: dict[str, list[str]] = {"beats": [], "does not beat": []}
    for name, scores in methods.items():
      if name != model:
        better = own > scores[key] if larger else own < scores[key]
        groups["beats" if better else "does not beat"].append(name)
    said = [f"{verb} {', '.join(n)}" for verb, n in groups.items() if n]
    label = title.split(",")[0].rstrip(" ↑↓")
    sentences.append(f"{label}: {model} {'; it '.join(said)}.")
  return sentences


def table(methods: Mapping[str, Scores]) -> str:
  """The scores as a Markdown table."""
  lines = [
    "| method | " + " | ".join(title for _, title, _, _ in _COLUMNS) + " |",
    "|---|" + "---:|" * len(_COLUMNS),
  ]
  for name, scores in methods.items():
    cells = [f"{scores[key]:.{digits}f}" for key, _, digits, _ in _COLUMNS]
    lines.append(f"| {name} | " + " | ".join(cells) + " |")
  return "\n".join(lines)


def write_report(
  path: Path,
  *,
  title: str,
  model: str,
  methods: Mapping[str, Scores],
  conditions: Mapping[str, str],
  video: Path,
  sheet: Path,
) -> None:
  """Writes the page; everything it shows is inside it.

  Args:
    path: of the HTML file.
    title: of the page.
    model: which of the methods is the trained model.
    methods: average scores, by method.
    conditions: what the numbers hold for, shown as a list.
    video: an MP4 file: input, restored, target side by side.
    sheet: a PNG file.
  """
  head = "".join(f"<th>{title}</th>" for _, title, _, _ in _COLUMNS)
  rows = []
  for name, scores in methods.items():
    cells = "".join(
      f"<td>{scores[key]:.{digits}f}</td>" for key, _, digits, _ in _COLUMNS
    )
    kind = ' class="model"' if name == model else ""
    rows.append(f"<tr{kind}><td>{html.escape(name)}</td>{cells}</tr>")
  said = "".join(
    f"<li>{html.escape(sentence)}</li>" for sentence in verdict(model, methods)
  )
  listed = "".join(
    f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>"
    for k, v in conditions.items()
  )
  truth = methods[model]
  path.write_text(
    f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>{_STYLE}</style>
<h1>{html.escape(title)}</h1>
<video controls loop muted autoplay playsinline
  src="data:video/mp4;base64,{_base64(video)}"></video>
<p>Left to right: input, restored, target.</p>
<h2>Scores</h2>
<table><tr><th>method</th>{head}</tr>{"".join(rows)}</table>
<p>The truth itself has TC {truth["tc_target"]:.5f}, and
{truth["tc_mask_target"]:.5f} inside the mask: a smaller value is stiller than
the truth, not better.</p>
<ul>{said}</ul>
<h2>Frames</h2>
<img alt="contact sheet" src="data:image/png;base64,{_base64(sheet)}">
<h2>Conditions</h2>
<dl>{listed}</dl>
</html>
""",
    encoding="utf-8",
  )


def _base64(path: Path) -> str:
  return base64.b64encode(path.read_bytes()).decode()
