"""What an evaluation found, as JSON and as a table."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax

from diffmvr_jax.metrics.accumulators import Measurements
from diffmvr_jax.metrics.definitions import DEFINITIONS

# Each of them is also measured inside the mask.
METRICS = tuple(name for name in DEFINITIONS if not name.endswith("_mask"))

# By metric: its value, and numbers of frames and videos.
Values = dict[str, dict[str, Any]]

# What a verdict is about.
_JUDGED = ("psnr_mask", "ssim_mask", "tc_mask")
_TOO_FEW = "there are fewer than two frames, or videos of 16 frames"
_OF_TARGET = "_target"  # ends the names of what is measured on the truth itself


def summarise(
  measurements: Mapping[str, Mapping[str, Measurements]],
  *,
  conditions: Mapping[str, str],
  metrics: Collection[str],
  digests: Mapping[str, Mapping[str, str]],
  missing: Mapping[str, str],
) -> dict[str, Any]:
  """Everything that `metrics.json` holds.

  Args:
    measurements: measurements by method and video.
    conditions: what the numbers hold for.
    metrics: names of `METRICS` to report; each is also reported inside the
      mask.
    digests: SHA-256 of the networks' weights, by metric and file name.
    missing: by metric that was not computed, what the user can do about it.

  Returns:
    `methods`: by method and metric, the value and the frames and videos that
    it was measured on; `truth`: the same of the truth itself, where that has a
    value; `videos`: values by method and video; `definitions`; and the others.
  """
  chosen = {
    method: {video: _only(m, metrics) for video, m in videos.items()}
    for method, videos in measurements.items()
  }
  methods, truth, without_value = {}, {}, {}
  for method, videos in chosen.items():
    values, lacking = _values(videos.values())
    truth = {
      name.removesuffix(_OF_TARGET): values.pop(name)
      for name in sorted(values)
      if name.endswith(_OF_TARGET)
    }
    methods[method] = {k: values[k] for k in DEFINITIONS if k in values}
    without_value |= dict.fromkeys(lacking, _TOO_FEW)
  measured = {name for values in methods.values() for name in values}
  return {
    "conditions": dict(conditions),
    "methods": methods,
    "truth": truth,
    "definitions": {
      name: _definition(name, digests)
      for name in DEFINITIONS
      if name in measured
    },
    "not_computed": {**missing, **without_value},
    "videos": {
      method: {video: m.means() for video, m in videos.items()}
      for method, videos in chosen.items()
    },
  }


def _only(measurements: Measurements, metrics: Collection[str]) -> Measurements:
  """What belongs to the given metrics: whole, in the mask, of the target."""
  return Measurements(
    by_metric={
      name: result
      for name, result in measurements.by_metric.items()
      if name.removesuffix(_OF_TARGET).removesuffix("_mask") in metrics
    }
  )


def _values(videos: Iterable[Measurements]) -> tuple[Values, list[str]]:
  """Values over all videos, and the metrics with too few frames for one."""
  total = sum(videos, Measurements())
  values: Values = {
    name: {
      "value": value,
      "frames": total.by_metric[name].frames,
      "videos": total.by_metric[name].videos,
    }
    for name, value in total.values().items()
  }
  return values, [name for name in total.by_metric if name not in values]


def _definition(
  name: str, digests: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
  definition = DEFINITIONS[name]
  better = {True: "larger", False: "smaller", None: None}
  return {
    "title": definition.title,
    "better": better[definition.larger_is_better],
    "definition": definition.text,
    "weights": dict(digests.get(name.removesuffix("_mask"), {})),
  }


def device() -> str:
  """The device and the version of JAX that the numbers are made with."""
  return f"{jax.devices()[0].device_kind}, jax {jax.__version__}"


def as_text(summary: Mapping[str, Any]) -> str:
  """The table, and the verdict's sentences if there are any."""
  return "\n".join([table(summary), "\n".join(summary.get("verdict", ()))])


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


def losses(
  model: str,
  methods: Mapping[str, Mapping[str, Mapping[str, float]]],
  metrics: Collection[str],
) -> list[str]:
  """Says in sentences which other methods are better than the model.

  Args:
    model: name of the model.
    methods: values by method and metric.
    metrics: keys of `DEFINITIONS` that count.

  Example:
    >>> methods = {
    ...   "ours": {"psnr_mask": {"value": 3.0}},
    ...   "b": {"psnr_mask": {"value": 4.0}}}
    >>> losses("ours", methods, ["psnr_mask"])
    ['PSNR in mask: b is better than ours, 4.00 against 3.00.']
  """
  sentences = []
  for key in metrics:
    own = methods[model][key]["value"]
    label = DEFINITIONS[key].title.split(",")[0]
    sentences += [
      f"{label}: {name} is better than {model}, {cell(values, key)} against "
      f"{cell(methods[model], key)}."
      for name, values in methods.items()
      if name != model and _better(values[key]["value"], own, key)
    ]
  return sentences


def _better(value: float, other: float, key: str) -> bool:
  larger = DEFINITIONS[key].larger_is_better
  return value > other if larger else value < other


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
        better = _better(own, values[key]["value"], key)
        groups["beats" if better else "does not beat"].append(name)
    said = [f"{verb} {', '.join(n)}" for verb, n in groups.items() if n]
    label = definition.title.split(",")[0]
    sentences.append(f"{label}: {model} {'; it '.join(said)}.")
  return sentences
