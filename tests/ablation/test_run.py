"""Sweeps: variants trained, measured, resumed and tabulated."""

import csv
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffmvr_jax.ablation.run import run_variants
from diffmvr_jax.ablation.spec import Variant, load_sweep
from diffmvr_jax.ablation.table import write_tables
from diffmvr_jax.errors import InputError
from diffmvr_jax.metrics.clip_metrics import MetricNetworks
from tests.conftest import TINY

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def finished(sweep, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("sweep")
  results = run_variants(sweep, workdir, MetricNetworks())
  return workdir, results


def test_every_variant_has_its_seeds(sweep, finished):
  workdir, results = finished
  assert {v: list(runs) for v, runs in results["test"].items()} == {
    "both": [0, 1],
    "past": [1],
  }
  both = results["test"]["both"]
  assert both[0]["psnr_mask"] != both[1]["psnr_mask"]
  stored = json.loads(
    (workdir / "past" / "seed1" / "scores-test.json").read_text()
  )
  assert stored["average"] == results["test"]["past"][1]
  assert stored["config"]["model"]["unet"]["branches"] == ["past"]
  assert stored["config"]["init_from"] == str(workdir / "autoencoder")


def test_a_second_call_only_reads(sweep, finished, monkeypatch):
  workdir, results = finished
  monkeypatch.setattr("diffmvr_jax.ablation.run.train", None)
  assert run_variants(sweep, workdir, MetricNetworks()) == results


def test_other_settings_are_not_mixed_in(sweep, finished):
  workdir, _ = finished
  stage = replace(sweep.base.diffusion_stage, steps=7)
  other = replace(sweep, base=replace(sweep.base, diffusion_stage=stage))
  with pytest.raises(InputError, match="another configuration"):
    run_variants(other, workdir, MetricNetworks())


def test_a_finished_training_can_be_loaded(
  sweep, finished, monkeypatch, tmp_path
):
  """With the same scores as where it was trained."""
  workdir, results = finished
  monkeypatch.setattr("diffmvr_jax.ablation.run.train", None)
  given = str(workdir / "both" / "seed{seed}")
  variant = Variant(name="given", checkpoint=given, seeds=(1,))
  loading = replace(sweep, variants=(variant,))
  # Its autoencoder is the trained one.
  (tmp_path / "autoencoder").symlink_to(workdir / "autoencoder")
  loaded = run_variants(loading, tmp_path, MetricNetworks())["test"]["given"]
  assert loaded == {1: results["test"]["both"][1]}


def test_overrides_reach_a_finished_training(sweep, finished, tmp_path):
  """Two settings of its sampling give two scores, not one under two names."""
  workdir, _ = finished
  given = str(workdir / "both" / "seed0")
  variants = tuple(
    Variant(
      name=f"{steps}-steps",
      checkpoint=given,
      overrides=(f"sampling.steps={steps}",),
      seeds=(0,),
    )
    for steps in (1, 3)
  )
  (tmp_path / "autoencoder").symlink_to(workdir / "autoencoder")
  loading = replace(sweep, variants=variants)
  scores = run_variants(loading, tmp_path, MetricNetworks())["test"]
  assert scores["1-steps"][0]["psnr"] != scores["3-steps"][0]["psnr"]
  assert scores["3-steps"][0] == finished[1]["test"]["both"][0]


def test_two_processes_score_what_one_does(sweep, finished, tmp_path):
  """They share the clips of a training that is loaded."""
  workdir, _ = finished
  file = tmp_path / "sweep_of_two.py"
  data = sweep.base.data.path
  file.write_text(
    f"""
import dataclasses
from diffmvr_jax.ablation.spec import Sweep, Variant
from diffmvr_jax.config import load_config

def get_sweep():
  base = load_config({str(TINY)!r}, ["data.path={data}"])
  stage = dataclasses.replace(base.autoencoder_stage, steps=0)
  base = dataclasses.replace(base, autoencoder_stage=stage)
  given = Variant(name="given", checkpoint={str(workdir / "both/seed0")!r})
  return Sweep(
    title="Two", base=base, variants=(given,), seeds=(0,),
    splits={{"train": "known people"}}, metrics=("psnr_mask",),
  )
"""
  )
  run_in_two_processes(
    "diffmvr_jax.sweep", "--config", file, "--workdir", tmp_path / "two"
  )
  path = "given/seed0/scores-train.json"
  two = json.loads((tmp_path / "two" / path).read_text())
  assert len(two["videos"]) == 4
  run_variants(load_sweep(file), tmp_path / "one", MetricNetworks())
  one = json.loads((tmp_path / "one" / path).read_text())
  assert two["average"] == pytest.approx(one["average"])


def test_two_processes_train_what_one_does(request, sweep, finished, tmp_path):
  """The autoencoder that variants share, and every variant from there."""
  if not request.config.getoption("--full-size"):
    pytest.skip("compiles for minutes; make test-meshes runs it")
  workdir, results = finished
  file = tmp_path / "sweep_of_two.py"
  file.write_text(
    f"""
from diffmvr_jax.ablation.spec import Sweep, Variant
from diffmvr_jax.config import load_config

def get_sweep():
  past = Variant(name="past", overrides={sweep.variants[1].overrides!r})
  return Sweep(
    title="Two",
    base=load_config({str(TINY)!r}, ["data.path={sweep.base.data.path}"]),
    variants=(Variant(name="both"), past), seeds=(1,), metrics=("psnr_mask",),
  )
"""
  )
  two = tmp_path / "two"
  run_in_two_processes("diffmvr_jax.sweep", "--config", file, "--workdir", two)
  assert_same_losses(two, workdir, "autoencoder/autoencoder.jsonl")
  for name in ("both", "past"):
    assert_same_losses(two, workdir, f"{name}/seed1/diffusion.jsonl")
    path = two / name / "seed1" / "scores-test.json"
    scores = json.loads(path.read_text())["average"]
    assert scores == pytest.approx(results["test"][name][1], rel=1e-4)


def assert_same_losses(folder, other, log):
  found, expected = (
    [json.loads(line)["loss"] for line in (x / log).read_text().splitlines()]
    for x in (folder, other)
  )
  assert found and found == pytest.approx(expected, rel=1e-5)


def run_in_two_processes(module, *arguments):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  processes = [
    subprocess.Popen(
      [sys.executable, "-m", module, *map(str, arguments)],
      env=os.environ
      | {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(i),
      },
      stderr=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  for process in processes:
    _, said = process.communicate()
    assert process.returncode == 0, said[-3000:]


def test_tables_and_plot_are_written(sweep, finished):
  workdir, results = finished
  text = write_tables(sweep, results, workdir, "tiny")
  assert "### held-out people" in text
  assert "| variant | seeds | PSNR in mask, dB ↑ | SSIM ↑ |" in text
  assert "| *the paper's* | – | 12.5 | – |" in text
  assert "- two beat one: " in text
  assert (workdir / "tiny.md").read_text() == text
  rows = list(csv.DictReader((workdir / "tiny.csv").read_text().splitlines()))
  assert [(r["split"], r["variant"], r["seed"]) for r in rows] == [
    ("test", "both", "0"),
    ("test", "both", "1"),
    ("test", "past", "1"),
    ("paper", "both", ""),
  ]
  mean = np.mean([float(r["psnr_mask"]) for r in rows[:2]])
  assert f"| both | 2 | {mean:.2f} ± " in text
  assert (workdir / "tiny-test.png").stat().st_size > 5000


def test_the_command_says_what_is_missing(tmp_path):
  done = subprocess.run(
    [
      *(sys.executable, "-m", "diffmvr_jax.sweep"),
      *("--config", CONFIGS / "ablation_loss.py"),
      *("--workdir", tmp_path, f"data.path={tmp_path / 'nothing'}"),
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert "nothing" in done.stderr.splitlines()[-1]
