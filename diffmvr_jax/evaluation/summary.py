"""What an evaluation found, as JSON and as a table."""

from collections.abc import Collection, Mapping
from typing import Any

from diffmvr_jax.metrics.accumulators import Tally
from diffmvr_jax.metrics.definitions import DEFINITIONS

# By method, and by video.
Tallies = Mapping[str, Mapping[str, Tally]]

# What a verdict is about, and whether a smaller number is better.
_JUDGED = ("psnr_mask", "ssim_mask", "tc_mask")
_TOO_FEW = "there are fewer than two frames, or videos of 16 frames"
_TRUTH = "_target"  # ends the names of what the truth itself measures


def summarise(
  tallies: Tallies,
  *,
  conditions: Mapping[str, str],
  wanted: Collection[str],
  weights: Mapping[str, Mapping[str, str]],
  missing: Mapping[str, str],
) -> dict[str, Any]:
  """Everything that `metrics.json` holds.

  Args:
    tallies: by method and video.
    conditions: that the numbers hold for.
    wanted: metrics to report, with what they are inside the mask.
    weights: by metric, file names and SHA-256.
    missing: by metric that was not computed, how to get its weights.

  Returns:
    `methods`: by method and metric, the value and the frames and videos that
    it was measured on; `truth`: the same of the truth itself, where that has a
    value; `videos`: values by method and video; `definitions`; and the others.
  """

  def reported(name: str) -> bool:
    base = name.removesuffix(_TRUTH).removesuffix("_mask")
    return base in wanted

  methods, truth, untold = {}, {}, {}
  for method, videos in tallies.items():
    parts = sum(videos.values(), Tally()).parts
    parts = {name: part for name, part in parts.items() if reported(name)}
    told = Tally(parts=parts).values()
    untold |= dict.fromkeys(parts.keys() - told.keys(), _TOO_FEW)
    values = {
      name: {
        "value": value,
        "frames": parts[name].frames,
        "videos": parts[name].videos,
      }
      for name, value in told.items()
    }
    own = {k for k in values if k.endswith(_TRUTH)}
    truth = {k.removesuffix(_TRUTH): values.pop(k) for k in sorted(own)}
    methods[method] = {k: values[k] for k in DEFINITIONS if k in values}
  return {
    "conditions": dict(conditions),
    "methods": methods,
    "truth": truth,
    "definitions": {
      name: {
        "title": DEFINITIONS[name].title,
        "better": _better(name),
        "definition": DEFINITIONS[name].text,
        "weights": dict(weights.get(name.removesuffix("_mask"), {})),
      }
      for name in DEFINITIONS
      if any(name in values for values in methods.values())
    },
    "not_computed": {**missing, **untold},
    "videos": {
      method: {
        video: {k: v for k, v in tally.means().items() if reported(k)}
        for video, tally in videos.items()
      }
      for method, videos in tallies.items()
    },
  }


def _better(name: str) -> str | None:
  larger = DEFINITIONS[name].larger
  return None if larger is None else "larger" if larger else "smaller"


def table(summary: Mapping[str, Any]) -> str:
  """The methods' values as a Markdown table, and what was not computed."""
  names = list(summary["definitions"])
  lines = [
    "| method | " + " | ".join(DEFINITIONS[n].heading for n in names) + " |",
    "|---|" + "---:|" * len(names),
  ]
  rows = dict(summary["methods"])
  if summary["truth"]:
    rows["the truth itself"] = summary["truth"]
  for method, values in rows.items():
    cells = [cell(values, name) for name in names]
    lines.append(f"| {method} | " + " | ".join(cells) + " |")
  for name, how in summary["not_computed"].items():
    lines.append(f"\nnot computed: {DEFINITIONS[name].title}; {how}")
  return "\n".join(lines)


def cell(values: Mapping[str, Mapping[str, float]], name: str) -> str:
  """A metric's value as text, a dash where there is none.

  Example:
    >>> cell({"psnr": {"value": 20.123}}, "psnr")
    '20.12'
  """
  if name not in values:
    return "–"
  return f"{values[name]['value']:.{DEFINITIONS[name].digits}f}"


def verdict(
  model: str, methods: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> list[str]:
  """Says in sentences which other methods the model beats, by what.

  Example:
    >>> methods = {
    ...   "ours": {"psnr_mask": {"value": 3.0}},
    ...   "b": {"psnr_mask": {"value": 2.0}}}
    >>> verdict("ours", methods)
    ['PSNR in mask: ours beats b.']
  """
  sentences = []
  for key in _JUDGED:
    if key not in methods[model]:
      continue
    definition = DEFINITIONS[key]
    own = methods[model][key]["value"]
    groups: dict[str, list[str]] = {"beats": [], "does not beat": []}
    for name, values in methods.items():
      if name != model and key in values:
        other = values[key]["value"]
        better = own > other if definition.larger else own < other
        groups["beats" if better else "does not beat"].append(name)
    said = [f"{verb} {', '.join(n)}" for verb, n in groups.items() if n]
    label = definition.title.split(",")[0]
    sentences.append(f"{label}: {model} {'; it '.join(said)}.")
  return sentences
