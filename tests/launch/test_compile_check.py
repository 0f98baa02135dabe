"""A train step compiled for TPU chips that are not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.compile_check import collective_bytes

CONFIG = Path(__file__).parents[1] / "tiny_config.py"


def check(*arguments, libtpu):
  return subprocess.run(
    [sys.executable, "-m", "launch.compile_check", *arguments],
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {"PYTHONPATH": str(libtpu), "XLA_FLAGS": ""},
  )


@pytest.fixture
def libtpu():
  folder = Path(sys.prefix) / "libtpu"
  if not folder.is_dir():
    pytest.skip("`make test` installs libtpu into .venv/libtpu")
  return folder


def test_a_small_step_compiles_for_a_small_slice(libtpu):
  run = check(
    *("--config", CONFIG, "--topology", "v5e:2x2"),
    *("--batch-per-chip", "2", "model.autoencoder.scaling_factor=1.0"),
    libtpu=libtpu,
  )
  assert run.returncode == 0, run.stderr[-2000:]
  assert "v5e:2x2, batch 8 windows" in run.stdout
  rows = dict(
    line.strip("| ").split(" | ")
    for line in run.stdout.splitlines()
    if line.startswith("| ") and "one chip" not in line
  )
  assert 0 < float(rows["temporaries, GiB"]) < 1
  assert float(rows["arguments, GiB"]) <= float(rows["total, GiB"])
  # Gradients of the parameters are summed over the chips.
  assert "all-reduce, MiB" in rows
  assert float(rows["least time by memory, ms"]) > 0


def test_a_batch_too_large_for_a_chip_is_refused_in_one_line(libtpu):
  run = check(
    *("--config", CONFIG, "--topology", "v5e:2x2"),
    *("--batch-per-chip", "100000", "model.autoencoder.scaling_factor=1.0"),
    libtpu=libtpu,
  )
  assert run.returncode == 2, run.stderr[-2000:]
  last = run.stderr.splitlines()[-1]
  assert last.startswith("error: --batch-per-chip 100000 does not fit v5e:2x2")
  assert "exceeds available HBM (15.75G)" in last


def test_an_unknown_slice_is_refused_in_one_line(tmp_path):
  run = check("--config", CONFIG, "--topology", "v1:2x2", libtpu=tmp_path)
  assert run.returncode == 2
  assert run.stderr.splitlines()[-1].startswith("error: --topology v1:2x2")


def test_collectives_are_counted_by_kind():
  program = """
  %a = f32[2,8]{1,0:T(8,128)} all-reduce(%x), channel_id=1, replica_groups={}
  %b = (bf16[4]{0}, bf16[16]{0}) all-gather-start(%y), channel_id=2
  %c = u32[3]{0} collective-permute(%z), channel_id=3
  %d = f32[] add(%a, %all-reduce.1)
  """
  assert collective_bytes(program) == {
    "all-reduce": 64,
    "all-gather": 8,
    "collective-permute": 12,
  }
