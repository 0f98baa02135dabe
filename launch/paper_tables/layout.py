"""A table as Markdown, CSV, LaTeX and a plot, the paper's numbers beside ours.

Below each row of ours stands the paper's in italics. A number is followed by ▲
or ▼ and its change from the reference row; a dash is a number that is missing.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from diffmvr_jax.files import replacing, writing
from diffmvr_jax.metrics.definitions import DEFINITIONS
from launch.paper_tables.comparison import (
  Values,
  arrow,
  as_printed,
  changes,
  gap,
  gap_between_masks,
  second_best,
)
from launch.paper_tables.printed import Table

_DASH = "–"
_LATEX = {character: rf"\{character}" for character in "%&_#${}"} | {
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  "▲": r"$\blacktriangle$",
  "▼": r"$\blacktriangledown$",
  _DASH: "--",
}
# Ours, which the paper's averages are shown beside.
_OWN = ("psnr_mask", "ssim_mask", "tc_mask", "fid", "fvd", "ssim", "tc")
Row = tuple[str, list[str]]


def rows_of(table: Table, ours: Values) -> list[Row]:
  """All rows, ours and the paper's in turn, and then the gaps."""
  printed, rows = as_printed(table), []
  changed = {id(v): changes(table, v) for v in (ours, printed)}

  def cells(values: Values, method: str) -> list[str]:
    own = values.get(method, {})
    apart = changed[id(values)].get(method, {})
    texts = []
    for place in _places(table):
      if place not in own:
        texts.append(_DASH)
        continue
      digits = table.metrics[place[1]].digits if values is ours else None
      number = _number(own[place], digits)
      texts.append(
        f"{number} {arrow(apart[place])}" if place in apart else number
      )
    return texts

  for method, name in _named(table, ours).items():
    rows.append((name, cells(ours, method)))
    if method in printed:
      rows.append((f"*{name}, paper*", cells(printed, method)))
  for values, ending in ((ours, ""), (printed, ", paper")):
    second = second_best(table, values)
    lead = gap(table, values, second)
    if lead:
      to = _named(table, ours).get(second or "", second)
      rows.append((f"Gap to {to}{ending}", _percents(table, lead)))
    between = gap_between_masks(table, values)
    if between:
      rows.append((f"Gap between masks{ending}", _percents(table, between)))
  return rows


def markdown(table: Table, ours: Values) -> str:
  """The table as Markdown."""
  heads = [
    f"{metric.name}{'↑' if metric.larger_is_better else '↓'}"
    + (f", {group.title}" if len(table.groups) > 1 else "")
    for group in table.groups
    for metric in table.metrics
  ]
  lines = [
    "| method | " + " | ".join(heads) + " |",
    "|---|" + "---:|" * len(heads),
  ]
  lines += [
    f"| {_cell(name)} | " + " | ".join(cells) + " |"
    for name, cells in rows_of(table, ours)
  ]
  return "\n".join(lines)


def own_definitions(
  table: Table, scores: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> str:
  """Our own definitions of the same metrics, for each folder of records.

  Args:
    table: the table.
    scores: values by folder, method and metric.
  """
  parts = []
  for folder, by_method in scores.items():
    found = [m for m in _OWN if any(m in s for s in by_method.values())]
    if not found:
      continue
    heads = " | ".join(DEFINITIONS[name].heading for name in found)
    lines = [f"| {folder} | {heads} |", "|---|" + "---:|" * len(found)]
    for method, name in _named(table, by_method).items():
      values = by_method.get(method, {})
      if values:
        cells = [
          _number(values.get(metric), DEFINITIONS[metric].digits)
          for metric in found
        ]
        lines.append(f"| {_cell(name)} | " + " | ".join(cells) + " |")
    parts.append("\n".join(lines))
  return "\n\n".join(parts)


def table_csv(table: Table, ours: Values) -> str:
  """A line for each method, group and metric, ours and the paper's."""
  printed = as_printed(table)
  apart, printed_apart = changes(table, ours), changes(table, printed)
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(
    [
      *("method", "data", "metric", "definition"),
      *("ours", "ours_change_percent", "paper", "paper_change_percent"),
    ]
  )
  for method in _named(table, ours):
    for place in _places(table):
      group, metric = table.groups[place[0]], table.metrics[place[1]]
      numbers = [
        values.get(method, {}).get(place, "")
        for values in (ours, apart, printed, printed_apart)
      ]
      writer.writerow([method, group.folder, metric.name, metric.key, *numbers])
  return text.getvalue()


def latex(table: Table, ours: Values) -> str:
  """The table for LaTeX, with the packages booktabs and amssymb."""
  width = len(table.metrics)
  tops = " & ".join(
    rf"\multicolumn{{{width}}}{{c}}{{{_escaped(group.title)}}}"
    for group in table.groups
  )
  heads = " & ".join(
    metric.name
    + (r"$\uparrow$" if metric.larger_is_better else r"$\downarrow$")
    for _ in table.groups
    for metric in table.metrics
  )
  lines = [
    r"% \usepackage{booktabs, amssymb}",
    rf"\begin{{tabular}}{{l{'r' * width * len(table.groups)}}}",
    r"\toprule",
    rf" & {tops} \\",
    rf"Method & {heads} \\",
    r"\midrule",
  ]
  for name, cells in rows_of(table, ours):
    texts = [_escaped(name.strip("*")), *map(_escaped, cells)]
    lines.append(" & ".join(texts) + r" \\")
  return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def plot(table: Table, ours: Values, path: Path) -> None:
  """Bars of each metric: ours in blue, the paper's in grey, by method."""
  from matplotlib.figure import Figure

  printed, names = as_printed(table), _named(table, ours)
  shape = len(table.groups), len(table.metrics)
  figure = Figure(
    figsize=(3.2 * shape[1] + 1, (0.8 + 0.34 * len(names)) * shape[0]),
    layout="constrained",
  )
  panels = figure.subplots(*shape, sharey=True, squeeze=False)
  for place in _places(table):
    panel, metric = panels[place], table.metrics[place[1]]
    for values, offset, colour in (
      (ours, -0.2, "#1b4f9c"),
      (printed, 0.2, "#b5b5b5"),
    ):
      bars = [
        (row + offset, values[method][place])
        for row, method in enumerate(names)
        if place in values.get(method, {})
      ]
      if bars:
        panel.barh(*zip(*bars, strict=True), height=0.38, color=colour)
    panel.set_title(
      f"{metric.name}, {table.groups[place[0]].title}", fontsize=9
    )
    panel.locator_params(axis="x", nbins=4)
  panels[0, 0].set_yticks(
    range(len(names)), list(names.values()), fontsize=8, parse_math=False
  )
  panels[0, 0].invert_yaxis()
  figure.suptitle(f"{table.title}; blue ours, grey the paper's", fontsize=10)
  with writing(path), replacing(path, keeps_suffix=True) as partial:
    figure.savefig(partial, dpi=120)


def _named(table: Table, ours: Mapping[str, object]) -> dict[str, str]:
  """The methods that are shown, by the paper's name where it has one."""
  more = {m: m for m in ours if m not in table.rows} if table.others else {}
  return {**table.rows, **more}


def _places(table: Table) -> list[tuple[int, int]]:
  return [
    (group, metric)
    for group in range(len(table.groups))
    for metric in range(len(table.metrics))
  ]


def _percents(
  table: Table, values: Mapping[tuple[int, int], float]
) -> list[str]:
  return [
    f"{values[place]:+.2f} %" if place in values else _DASH
    for place in _places(table)
  ]


def _cell(name: str) -> str:
  """A name as a cell of Markdown takes it."""
  return name.replace("|", r"\|")


def _number(value: float | None, digits: int | None) -> str:
  if value is None:
    return _DASH
  return f"{value:g}" if digits is None else f"{value:.{digits}f}"


def _escaped(text: str) -> str:
  """Text as LaTeX takes it."""
  return "".join(_LATEX.get(character, character) for character in text)
