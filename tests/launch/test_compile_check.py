"""A train step compiled for chips that are not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs import distill_lcm
from diffmvr_jax.checkpoints.training_state import TEACHER
from diffmvr_jax.training.sharding import make_mesh
from launch.compile_check import diffusion_step

CONFIG = Path(__file__).parents[1] / "tiny_config.py"


def check(*arguments, compiler):
  return subprocess.run(
    [sys.executable, "-m", "launch.compile_check", *arguments],
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {"PYTHONPATH": str(compiler), "XLA_FLAGS": ""},
  )


def installed(name):
  folder = Path(sys.prefix) / name
  if not folder.is_dir():
    pytest.skip(f"`make test` installs {name} into .venv/{name}")
  return folder


@pytest.mark.parametrize(
  ("compiler", "topology", "overrides"),
  [
    ("libtpu", "v5e:2x2", []),
    (
      "cuda",
      "h100:2x2",
      ["mesh.fsdp=2", "model.dtype=bfloat16", "model.unet.heads=(1,1)"],
    ),
  ],
)
def test_a_small_step_compiles(compiler, topology, overrides):
  run = check(
    *("--config", CONFIG, "--topology", topology, "--batch-per-chip", "2"),
    *("model.autoencoder.scaling_factor=1.0", *overrides),
    compiler=installed(compiler),
  )
  assert run.returncode == 0, run.stderr[-2000:]
  assert f"{topology}, batch 8 windows" in run.stdout
  rows = dict(
    line.strip("| ").split(" | ")
    for line in run.stdout.splitlines()
    if line.startswith("| ") and "one chip" not in line
  )
  assert 0 < float(rows["temporaries, GiB"]) < 1
  assert float(rows["arguments, GiB"]) <= float(rows["total, GiB"])
  # Gradients of the parameters are summed over the chips.
  assert float(rows["all-reduce, MiB"]) > 0
  assert float(rows["least time by memory, ms"]) > 0


def test_a_batch_too_large_for_a_chip_is_refused_in_one_line():
  run = check(
    *("--config", CONFIG, "--topology", "v5e:2x2"),
    *("--batch-per-chip", "100000", "model.autoencoder.scaling_factor=1.0"),
    compiler=installed("libtpu"),
  )
  assert run.returncode == 2, run.stderr[-2000:]
  last = run.stderr.splitlines()[-1]
  assert last.startswith("error: --batch-per-chip 100000 does not fit v5e:2x2")
  assert "exceeds available HBM (15.75G)" in last


def test_an_unknown_slice_is_refused_in_one_line(tmp_path):
  run = check("--config", CONFIG, "--topology", "v1:2x2", compiler=tmp_path)
  assert run.returncode == 2
  assert run.stderr.splitlines()[-1].startswith("error: --topology v1:2x2")


def test_a_distillation_is_checked_with_its_own_loss(tiny_config):
  config = distill_lcm.distilled(tiny_config, "teacher")
  step = diffusion_step(config, make_mesh(config.mesh), batch=2)
  assert TEACHER in step.state.frozen
  _, metrics = step.trace().out_info
  assert metrics.keys() == {"loss", "squared", "grad_norm"}
