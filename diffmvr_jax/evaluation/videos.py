"""Evaluates restored videos against the true ones."""

import json
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffmvr_jax.buckets import Place, uploaded
from diffmvr_jax.engines.workers import open_workers
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluation.summary import METRICS, device, summarise
from diffmvr_jax.evaluation.video_pairs import VideoPair, find_pairs
from diffmvr_jax.files import make_folder, write_atomically
from diffmvr_jax.metrics.accumulators import Measurements
from diffmvr_jax.metrics.clip_metrics import ClipMetrics
from diffmvr_jax.metrics.pretrained import load_networks


def evaluate_videos(
  prediction: Place,
  target: Place,
  mask: Place | None,
  *,
  out: Place | None = None,
  weights: Path | None = None,
  metrics: Collection[str] = METRICS,
  engine: str | None = None,
) -> dict[str, Any]:
  """Scores restored videos.

  Args:
    prediction: a video, a folder of pictures, or a folder of either, on a disk
      or in a bucket.
    target: the truth, of the same kind.
    mask: masks of the same kind, white on the occlusion; None counts every
      pixel.
    out: folder for `metrics.json`; None writes nothing.
    weights: folder of the metrics' networks.
    metrics: names of `METRICS`; each is also measured inside the mask.
    engine: Ray cluster that does it, see `open_workers`.

  Returns:
    What `evaluate_records` does; the one method is called "prediction".

  Raises:
    InputError: a file cannot be read, or sizes or lengths differ.
  """
  measurements: dict[str, Measurements] = {}
  pairs = find_pairs(prediction, target, mask)
  with open_workers(
    partial(PairMeasurer, weights, metrics), engine, computes=True
  ) as workers:
    about: _About = workers.about
    for pair, measured in workers.work(
      pairs, lambda frames: None, in_order=True
    ):
      if isinstance(measured, InputError):
        raise measured
      measurements[pair.name] = measured
  summary = summarise(
    {"prediction": measurements},
    conditions={
      "prediction": str(prediction),
      "target": str(target),
      "mask": str(mask or "none: all pixels count"),
      "device": about.device,
    },
    metrics=metrics,
    digests=about.digests,
    missing=about.missing,
  )
  if out is not None:
    with uploaded(out) as folder:
      make_folder(folder)
      write_atomically(folder / "metrics.json", json.dumps(summary, indent=2))
  return summary


@dataclass(frozen=True, kw_only=True)
class _About:
  """What holds for all pairs.

  Attributes:
    device: the device and the version of JAX that the numbers are made with.
    digests: see `LoadedNetworks`.
    missing: see `LoadedNetworks`.
  """

  device: str
  digests: dict[str, dict[str, str]]
  missing: dict[str, str]


class PairMeasurer:
  """Measures restored videos against the truth, one after the other.

  Args:
    weights: folder of the metrics' networks.
    metrics: names of `METRICS`.

  Attributes:
    about: what holds for all pairs.

  Raises:
    InputError: weights are damaged.
  """

  def __init__(self, weights: Path | None, metrics: Collection[str]):
    loaded = load_networks(weights, metrics)
    self._networks = loaded.networks
    self.about = _About(
      device=device(), digests=loaded.digests, missing=loaded.missing
    )

  def __call__(
    self, pair: VideoPair, after_frame: Callable[[], object]
  ) -> Measurements:
    """Measures a pair.

    Raises:
      InputError: a video cannot be read, or the two do not fit.
    """
    clip_metrics = ClipMetrics(self._networks)
    with closing(pair.chunks()) as chunks:  # copies are removed at once
      for restored, true, covered in chunks:
        clip_metrics.add_frames(restored, true, covered)
        for _ in true:
          after_frame()
    return clip_metrics.measurements
