"""A sweep's results as tables, a plot, and verdicts on its claims."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from scipy import stats

from diffmvr_jax.ablation.spec import Claim, Sweep
from diffmvr_jax.files import replacing, write_atomically, writing
from diffmvr_jax.metrics.accumulators import Scores
from diffmvr_jax.metrics.definitions import DEFINITIONS

# By variant and seed.
Results = Mapping[str, Mapping[int, Scores]]

_SURE = 0.95  # confidence of a verdict


def write_tables(
  sweep: Sweep, results: Mapping[str, Results], workdir: Path, name: str
) -> str:
  """Writes `NAME.md`, `NAME.csv` and a plot `NAME-SPLIT.png` for each split.

  Args:
    sweep: what was run.
    results: scores by split, variant and seed.
    workdir: folder for the files.
    name: beginning of their names.

  Returns:
    The Markdown.
  """
  stage = sweep.base.diffusion_stage
  text = [
    f"## {sweep.title}",
    f"`{sweep.base.name}`, {stage.steps} updates of {stage.batch_size} windows "
    f"for every variant, {sweep.base.data.image_size} px, "
    f"{sweep.base.model.dtype}, {jax.devices()[0].device_kind}, jax "
    f"{jax.__version__}. Mean ± standard error over seeds.",
  ]
  for split, by_variant in results.items():
    text += [f"### {sweep.splits[split]}", markdown(sweep, split, by_variant)]
    text += ["\n".join(verdicts(sweep, by_variant))]
    if _measured(sweep, by_variant):
      plot(sweep, split, by_variant, workdir / f"{name}-{split}.png")
  whole = "\n\n".join(part for part in text if part) + "\n"
  write_atomically(workdir / f"{name}.md", whole)
  write_atomically(workdir / f"{name}.csv", table_csv(sweep, results))
  return whole


def markdown(sweep: Sweep, split: str, results: Results) -> str:
  """Mean ± standard error over seeds, the paper's row below each of ours."""
  metrics = _measured(sweep, results)
  lines = [
    "| variant | seeds | "
    + " | ".join(DEFINITIONS[name].heading for name in metrics)
    + " |",
    "|---|---:|" + "---:|" * len(metrics),
  ]
  for variant in sweep.variants:
    runs = results.get(variant.name, {})
    if runs:
      cells = [_cell(name, runs) for name in metrics]
      lines.append(
        f"| {variant.name} | {len(runs)} | " + " | ".join(cells) + " |"
      )
    if variant.paper:
      cells = [
        f"{variant.paper[name]:g}" if name in variant.paper else "–"
        for name in metrics
      ]
      lines.append("| *the paper's* | – | " + " | ".join(cells) + " |")
  return "\n".join(lines)


def verdicts(sweep: Sweep, results: Results) -> list[str]:
  """What the runs say of each claim, as Markdown list items."""
  lines = []
  for claim in sweep.claims:
    pairs = _pairs(claim, results)
    if len(pairs):
      lines.append(f"- {claim.text}: {judge(claim, pairs)}")
  return lines


def judge(claim: Claim, pairs: np.ndarray) -> str:
  """Decides a claim.

  The differences of runs with the same seed are taken for a normal sample; a
  claim holds, or fails, if its 95 % confidence interval (Student's t) is on
  one side of zero.

  Args:
    claim: the claim.
    pairs: (seeds, 2) the metric of the first and the second variant.

  Example:
    >>> claim = Claim(text="", metric="psnr", first="a", second="b")
    >>> judge(claim, np.array([[3.0, 1.0], [3.1, 1.0], [3.2, 1.0]]))
    '**holds** (PSNR, dB: better by 2.10 ± 0.25, 95 %, 3 seeds)'
  """
  definition = DEFINITIONS[claim.metric]
  count, digits = len(pairs), definition.digits
  if claim.relation == "equal":
    worst = float(np.abs(pairs[:, 0] - pairs[:, 1]).max())
    word = "**holds**" if worst == 0 else "**fails**"
    return f"{word} ({definition.title}: differs by at most {worst:g})"
  gain = (pairs[:, 0] - pairs[:, 1]) * (
    1 if definition.larger_is_better else -1
  )
  mean = float(gain.mean())
  direction = "better" if mean >= 0 else "worse"
  said = f"{definition.title}: {direction} by {abs(mean):.{digits}f}"
  if count < 2:
    return f"open ({said}, one seed)"
  error = gain.std(ddof=1) / np.sqrt(count)
  margin = float(stats.t.ppf((1 + _SURE) / 2, count - 1) * error)
  said += f" ± {margin:.{digits}f}, 95 %, {count} seeds"
  if mean > margin:
    word = "**holds**"
  elif mean < -margin:
    word = "**fails**"
  else:
    word = "**not refuted**" if claim.relation == "not worse" else "open"
  return f"{word} ({said})"


def table_csv(sweep: Sweep, results: Mapping[str, Results]) -> str:
  """Every run and the paper's rows, a line each, with all metrics."""
  names = [
    name
    for name in DEFINITIONS
    if any(
      name in scores
      for by_variant in results.values()
      for runs in by_variant.values()
      for scores in runs.values()
    )
  ]
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(["split", "variant", "seed", *names])
  for split, by_variant in results.items():
    for variant in sweep.variants:
      for seed, scores in by_variant.get(variant.name, {}).items():
        row = [scores.get(name, "") for name in names]
        writer.writerow([split, variant.name, seed, *row])
  for variant in sweep.variants:
    if variant.paper:
      row = [variant.paper.get(name, "") for name in names]
      writer.writerow(["paper", variant.name, "", *row])
  return text.getvalue()


def plot(sweep: Sweep, split: str, results: Results, path: Path) -> None:
  """Writes a panel per metric: each run a dot, mean and standard error."""
  from matplotlib.figure import Figure

  metrics = _measured(sweep, results)
  shown = [v.name for v in sweep.variants if results.get(v.name)]
  figure = Figure(
    figsize=(3.2 * len(metrics) + 1, 1.2 + 0.45 * len(shown)),
    layout="constrained",
  )
  panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
  for panel, name in zip(panels, metrics, strict=True):
    for row, variant in enumerate(shown):
      values = np.asarray([s[name] for s in results[variant].values()])
      panel.plot(values, [row] * len(values), "o", color="#9db8dd", ms=5)
      panel.errorbar(
        values.mean(),
        row,
        xerr=_error(values),
        fmt="|",
        color="#1b4f9c",
        ms=14,
        capsize=3,
      )
    panel.set_title(DEFINITIONS[name].heading, fontsize=10)
    panel.grid(axis="x", alpha=0.3)
    panel.locator_params(axis="x", nbins=4)
  panels[0].set_yticks(range(len(shown)), shown)
  panels[0].invert_yaxis()
  figure.suptitle(f"{sweep.title}: {sweep.splits[split]}", fontsize=11)
  with writing(path), replacing(path, keeps_suffix=True) as partial:
    figure.savefig(partial, dpi=120)


def _measured(sweep: Sweep, results: Results) -> list[str]:
  runs = [scores for by_seed in results.values() for scores in by_seed.values()]
  return [name for name in sweep.metrics if all(name in s for s in runs)]


def _cell(name: str, runs: Mapping[int, Scores]) -> str:
  digits = DEFINITIONS[name].digits
  values = np.asarray([scores[name] for scores in runs.values()])
  mean = f"{values.mean():.{digits}f}"
  return mean if len(values) < 2 else f"{mean} ± {_error(values):.{digits}f}"


def _error(values: np.ndarray) -> float:
  if len(values) < 2:
    return 0.0
  return float(values.std(ddof=1) / np.sqrt(len(values)))


def _pairs(claim: Claim, results: Results) -> np.ndarray:
  first, second = (results.get(n, {}) for n in (claim.first, claim.second))
  return np.asarray(
    [
      (first[seed][claim.metric], second[seed][claim.metric])
      for seed in first
      if seed in second
      and claim.metric in first[seed]
      and claim.metric in second[seed]
    ]
  )
