"""What the paper computes from a table's numbers: ▲, ▼ and the rows Gap.

All of it is relative, in percent. ▲ and ▼ give the change from the reference
row to a row; a gap is the improvement from one row, or one type of mask, to
another, above 0 if it is better.
"""

from collections.abc import Mapping

from launch.paper_tables.printed import Metric, Table

# By method and place, the number of a group and metric; some may be missing.
Values = Mapping[str, Mapping[tuple[int, int], float]]


def as_printed(table: Table) -> Values:
  """The paper's own numbers."""
  width = len(table.metrics)
  return {
    method: {divmod(i, width): value for i, value in enumerate(values)}
    for method, values in table.values.items()
  }


def change(value: float, reference: float) -> float:
  """Relative change in percent, of which ▲ and ▼ show the size.

  Example:
    >>> round(change(3.066, 2.382), 1)
    28.7
  """
  return 100 * (value - reference) / reference


def improvement(value: float, over: float, metric: Metric) -> float:
  """By how many percent a value is better than another one.

  Example:
    >>> fid = Metric(name="FID", key="fid", digits=3)
    >>> round(improvement(2.382, 2.366, fid), 2)
    -0.68
  """
  return change(value, over) * (1 if metric.larger_is_better else -1)


def arrow(percent: float) -> str:
  """▲ or ▼ with the size of a change.

  Example:
    >>> arrow(-23.69)
    '▼23.7 %'
  """
  return f"{'▲' if percent >= 0 else '▼'}{abs(percent):.1f} %"


def changes(table: Table, values: Values) -> Values:
  """▲▼ of every row but the reference's, in percent."""
  reference = values.get(table.reference, {})
  return {
    method: {
      place: change(value, reference[place])
      for place, value in row.items()
      if reference.get(place)
    }
    for method, row in values.items()
    if method != table.reference
  }


def second_best(table: Table, values: Values) -> str | None:
  """The paper's second best; if it was not measured, the best of the others.

  The best is the row that is ahead in the largest number of columns.
  """
  if table.second is None or values.get(table.second):
    return table.second
  others = [m for m in values if m != table.best and values[m]]
  if not others:
    return None
  ahead = dict.fromkeys(others, 0)
  for group in range(len(table.groups)):
    for number, metric in enumerate(table.metrics):
      place = group, number
      there = [m for m in others if place in values[m]]
      if there:
        sign = 1 if metric.larger_is_better else -1
        ahead[max(there, key=lambda m: sign * values[m][place])] += 1
  return max(others, key=ahead.__getitem__)


def gap(
  table: Table, values: Values, second: str | None
) -> dict[tuple[int, int], float]:
  """The row Gap: by how many percent the best leads the second best."""
  best, other = values.get(table.best, {}), values.get(second or "", {})
  return {
    place: improvement(value, other[place], table.metrics[place[1]])
    for place, value in best.items()
    if other.get(place)
  }


def gap_between_masks(
  table: Table, values: Values
) -> dict[tuple[int, int], float]:
  """By how many percent segmented masks are better than boxes; group 0."""
  if len(table.groups) < 2:
    return {}
  best = values.get(table.best, {})
  return {
    (0, number): improvement(best[0, number], best[1, number], metric)
    for number, metric in enumerate(table.metrics)
    if (0, number) in best and best.get((1, number))
  }
