r"""The paper's tables, one command each.

  python -m launch.paper table1|table2|table3|table4 --data DIR \
    --models FILE.toml --out DIR [--limit N]

DIR holds folders of records, as `docs/data.md` makes them: `segmented` and
`boxes`, the same videos with either type of mask, and for Table 1
`stills-segmented`, `stills-boxes` and `hof-segmented`, still images. FILE.toml
names the methods, see `launch.paper_tables.methods_file`. If a folder, a model
or a metric's weights are missing, their cells stay empty, and a line says why.
Records without a truth are compared with the covered frame itself, as the paper
does. OUT gets `TABLE.md`, `.csv`, `.tex` and `.png`, and the scores of each
method in `scores/`; a second run measures only what is not measured yet.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from diffmvr_jax.command_line.arguments import ArgumentParser, seed, whole
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.files import make_folder, write_atomically
from diffmvr_jax.metrics.definitions import DEFINITIONS
from diffmvr_jax.metrics.pretrained import LoadedNetworks, load_networks
from launch.paper_tables.layout import (
  latex,
  markdown,
  own_definitions,
  plot,
  table_csv,
)
from launch.paper_tables.measure import Measured, Settings, measure
from launch.paper_tables.methods_file import MethodEntry, read_methods
from launch.paper_tables.printed import TABLES, Table

_METRICS = ("fid", "fid_paper", "fvd")  # those that need weights


@dataclass(kw_only=True)
class Findings:
  """What was measured for a table.

  Attributes:
    values: by method, the number of each group and metric.
    scores: by folder, method and metric.
    notes: why cells are empty, and what the numbers hold for.
  """

  values: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
  scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
  notes: list[str] = field(default_factory=list)


def make_table(
  name: str,
  data: Path,
  models: Path,
  out: Path,
  *,
  settings: Settings,
  weights: Path | None = None,
) -> str:
  """Measures what a table needs, and writes it.

  Args:
    name: one of `TABLES`.
    data: folder of the folders of records.
    models: the methods' file.
    out: folder for the table.
    settings: split, number of clips, and seed.
    weights: folder of the metrics' networks.

  Returns:
    The Markdown.

  Raises:
    InputError: the methods' file is wrong, there are no records at all, or
      scores in `out` are of other settings.
  """
  table, methods = TABLES[name], read_methods(models)
  folders = dict.fromkeys(f for g in table.groups for f in (g.folder, g.videos))
  if not any(f and (data / f).is_dir() for f in folders):
    wanted = ", ".join(f for f in folders if f)
    raise InputError(f"{data}: none of the folders of records {wanted}")
  make_folder(out)  # refused now, not hours later
  loaded = load_networks(weights, _METRICS)
  found = _measured(table, methods, data, out, settings, loaded)
  title = f"## {table.title}"
  if settings.limit is not None:
    title += f" (the first {settings.limit} clips of each folder)"
  text = "\n\n".join(
    [
      title,
      markdown(table, found.values),
      "By our own definitions:",
      own_definitions(table, found.scores),
      "\n".join(f"- {note}" for note in dict.fromkeys(found.notes)),
    ]
  )
  write_atomically(out / f"{name}.md", text + "\n")
  write_atomically(out / f"{name}.csv", table_csv(table, found.values))
  write_atomically(out / f"{name}.tex", latex(table, found.values))
  plot(table, found.values, out / f"{name}.png")
  return text


def _measured(
  table: Table,
  methods: Mapping[str, MethodEntry],
  data: Path,
  out: Path,
  settings: Settings,
  loaded: LoadedNetworks,
) -> Findings:
  found = Findings()
  for metric, remedy in loaded.missing.items():
    found.notes.append(f"no {DEFINITIONS[metric].title}: {remedy}")
  shown = [m for m in methods if m in table.rows or table.others]
  absent = [name for name in table.rows if name not in methods]
  if absent:
    found.notes.append(f"not in the models' file: {', '.join(absent)}")

  @cache
  def scores(folder: str, method: str) -> Measured:
    measured = measure(
      methods[method], data / folder, out / "scores", settings, loaded
    )
    if measured.problem:
      found.notes.append(f"no numbers of {method}: {measured.problem}")
    else:
      what = f"{folder}: {measured.videos} clips, {measured.frames} frames"
      if measured.original:
        what += ", compared with the covered frames themselves"
      found.notes.append(what)
    if measured.protocol:
      found.notes.append(f"{method} ({folder}): {measured.protocol}")
    found.scores.setdefault(folder, {})[method] = measured.scores
    return measured

  for method in shown:
    row = found.values.setdefault(method, {})
    for group, place in enumerate(table.groups):
      if not (data / place.folder).is_dir():
        found.notes.append(f"{place.title}: no records in {place.folder}")
        continue
      for number, metric in enumerate(table.metrics):
        folder = place.videos if metric.from_videos else place.folder
        value = scores(folder, method).scores.get(metric.key)
        if value is not None:
          row[group, number] = value
  return found


def main(argv: list[str]) -> None:
  """Parses the arguments and makes the table."""
  parser = ArgumentParser(
    prog="python -m launch.paper",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("table", choices=TABLES)
  parser.add_argument("--data", type=Path, required=True, metavar="DIR")
  parser.add_argument("--models", type=Path, required=True, metavar="FILE.toml")
  parser.add_argument("--out", type=Path, required=True, metavar="DIR")
  parser.add_argument(
    "--limit", type=whole(1), help="measures only the first so many clips"
  )
  parser.add_argument("--split", default="test")
  parser.add_argument("--seed", type=seed, default=0)
  parser.add_argument(
    "--weights", type=Path, help="folder of the metrics' networks"
  )
  arguments = parser.parse_args(argv)
  print(
    make_table(
      arguments.table,
      arguments.data,
      arguments.models,
      arguments.out,
      settings=Settings(
        split=arguments.split, limit=arguments.limit, seed=arguments.seed
      ),
      weights=arguments.weights,
    )
  )


if __name__ == "__main__":
  run_command(main)
