"""Evaluates restored videos against the true ones."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from diffmvr_jax.evaluation.summary import METRICS, device, summarise
from diffmvr_jax.evaluation.video_pairs import find_pairs
from diffmvr_jax.files import make_folder, write_atomically
from diffmvr_jax.metrics.accumulators import Measurements
from diffmvr_jax.metrics.clip_metrics import ClipMetrics
from diffmvr_jax.metrics.pretrained import load_networks


def evaluate_videos(
  prediction: Path,
  target: Path,
  mask: Path | None,
  *,
  out: Path | None = None,
  weights: Path | None = None,
  metrics: Collection[str] = METRICS,
) -> dict[str, Any]:
  """Scores restored videos.

  Args:
    prediction: a video, a folder of pictures, or a folder of either.
    target: the truth, of the same kind.
    mask: masks of the same kind, white on the occlusion; None counts every
      pixel.
    out: folder for `metrics.json`; None writes nothing.
    weights: folder of the metrics' networks.
    metrics: names of `METRICS`; each is also measured inside the mask.

  Returns:
    What `evaluate_records` does; the one method is called "prediction".

  Raises:
    InputError: a file cannot be read, or sizes or lengths differ.
  """
  loaded = load_networks(weights, metrics)
  measurements: dict[str, Measurements] = {}
  for pair in find_pairs(prediction, target, mask):
    clip_metrics = ClipMetrics(loaded.networks)
    for restored, true, covered in pair.chunks():
      clip_metrics.add_frames(restored, true, covered)
    measurements[pair.name] = clip_metrics.measurements
  summary = summarise(
    {"prediction": measurements},
    conditions={
      "prediction": str(prediction),
      "target": str(target),
      "mask": str(mask or "none: all pixels count"),
      "device": device(),
    },
    metrics=metrics,
    digests=loaded.digests,
    missing=loaded.missing,
  )
  if out is not None:
    make_folder(out)
    write_atomically(out / "metrics.json", json.dumps(summary, indent=2))
  return summary
