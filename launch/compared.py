"""How the demos end: the report, and a failure if the model loses."""

import json
import sys
import time
from pathlib import Path

from diffmvr_jax.evaluate import main as evaluate
from diffmvr_jax.evaluation.records import MODEL
from diffmvr_jax.evaluation.summary import losses

METRICS = ("psnr_mask", "ssim_mask")


def compare(checkpoint: Path, data: Path, out: Path, start: float) -> None:
  """Evaluates a model, and ends the process with code 1 if it loses.

  Args:
    checkpoint: name of the model, as `open_model` takes it.
    data: folder of records.
    out: folder for the report; if there is one, it is not made again.
    start: time at which the demo began, of `time.perf_counter`.
  """
  if (out / "report.html").exists():  # what the evaluation writes last
    print(f"{out}: already evaluated")
  else:
    evaluate(
      ["--checkpoint", str(checkpoint), "--data", str(data), "--out", str(out)]
    )
  minutes = (time.perf_counter() - start) / 60
  say(f"done in {minutes:.1f} minutes; open {out / 'report.html'}")
  summary = json.loads((out / "metrics.json").read_text())
  lost = losses(MODEL, summary["methods"], METRICS)
  for sentence in lost:
    say(sentence)
  if lost:
    sys.exit(1)


def say(text: str) -> None:
  """Tells what a demo is about to do."""
  print(f"[demo] {text}", file=sys.stderr, flush=True)
