"""How the demos end: the report, and a failure if the model loses."""

import sys
import time
from pathlib import Path

from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluate import main as evaluate
from diffmvr_jax.evaluation.records import MODEL
from diffmvr_jax.evaluation.summary import losses
from diffmvr_jax.files import read_json

METRICS = ("psnr_mask", "ssim_mask")


def compare(checkpoint: Path, data: Path, out: Path, start: float) -> None:
  """Evaluates a model, and ends the process with code 1 if it loses.

  Args:
    checkpoint: name of the model, as `open_model` takes it.
    data: folder of records.
    out: folder for the report; if there is one, it is not made again.
    start: time at which the demo began, of `time.perf_counter`.

  Raises:
    InputError: the scores of an earlier run are damaged.
  """
  if (out / "report.html").exists():  # what the evaluation writes last
    print(f"{out}: already evaluated")
  else:
    evaluate(
      ["--checkpoint", str(checkpoint), "--data", str(data), "--out", str(out)]
    )
  scores = out / "metrics.json"
  advice = f"delete {out / 'report.html'}, and both are made again"
  summary = read_json(scores, advice)
  try:
    lost = losses(MODEL, summary["methods"], METRICS)
  except (KeyError, TypeError, AttributeError) as error:
    raise InputError(
      f"{scores}: damaged (no scores of {MODEL}); {advice}"
    ) from error
  minutes = (time.perf_counter() - start) / 60
  say(f"done in {minutes:.1f} minutes; open {out / 'report.html'}")
  for sentence in lost:
    say(sentence)
  if lost:
    sys.exit(1)


def say(text: str) -> None:
  """Tells what a demo is about to do."""
  print(f"[demo] {text}", file=sys.stderr, flush=True)
