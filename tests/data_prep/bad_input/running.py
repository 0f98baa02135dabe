"""Runs an export of a bad folder, and reads what came out."""

from data_prep.__main__ import main
from diffmvr_jax.data.records import RecordSource
from tests.data_prep.clips import drawn

IMAGES = drawn(0)[0][:10]


def run(folder, out, *options):
  """Exports; returns the exit code."""
  try:
    defaults = ("--out", str(out), "--size", "16", "--test-share", "0")
    main(["export", str(folder), *defaults, *map(str, options)])
  except SystemExit as stop:
    return stop.code
  return 0


def exported(out):
  return {video for video, _ in RecordSource(out, "train").videos()}


def half_written(out):
  return [p for p in out.rglob("*") if "partial" in p.name or p.is_dir()]
