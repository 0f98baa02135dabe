"""Sweeps: variants trained, measured, resumed and tabulated."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffmvr_jax.ablation.spec import Claim, Sweep, Variant, load_sweep
from diffmvr_jax.ablation.table import judge, markdown, verdicts
from diffmvr_jax.errors import InputError
from diffmvr_jax.metrics.clip_metrics import Instruments
from diffmvr_jax.sweep import run, write_tables

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def sweep(tiny_config):
  return Sweep(
    title="Tiny",
    base=tiny_config,
    variants=(
      Variant(name="both", paper={"psnr_mask": 12.5}),
      Variant(
        name="past",
        overrides=("model.unet.branches=['past']", "model.unet.alpha=[1.0]"),
        seeds=(1,),
      ),
    ),
    seeds=(0, 1),
    metrics=("psnr_mask", "ssim", "fvd"),
    claims=(
      Claim(
        text="two beat one", metric="psnr_mask", first="both", second="past"
      ),
    ),
  )


@pytest.fixture(scope="module")
def finished(sweep, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("sweep")
  results = run(sweep, workdir, Instruments())
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
  monkeypatch.setattr("diffmvr_jax.sweep.train", None)
  assert run(sweep, workdir, Instruments()) == results


def test_other_settings_are_not_mixed_in(sweep, finished):
  workdir, _ = finished
  stage = replace(sweep.base.diffusion_stage, steps=7)
  other = replace(sweep, base=replace(sweep.base, diffusion_stage=stage))
  with pytest.raises(InputError, match="another configuration"):
    run(other, workdir, Instruments())


def test_a_finished_training_can_be_loaded(
  sweep, finished, monkeypatch, tmp_path
):
  """With the same scores as where it was trained."""
  workdir, results = finished
  monkeypatch.setattr("diffmvr_jax.sweep.train", None)
  given = str(workdir / "both" / "seed{seed}")
  variant = Variant(name="given", checkpoint=given, seeds=(1,))
  loading = replace(sweep, variants=(variant,))
  # Its autoencoder is the trained one.
  (tmp_path / "autoencoder").symlink_to(workdir / "autoencoder")
  loaded = run(loading, tmp_path, Instruments())["test"]["given"]
  assert loaded == {1: results["test"]["both"][1]}


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


CLAIM = Claim(text="", metric="tc", first="a", second="b")


@pytest.mark.parametrize(
  ("relation", "pairs", "verdict"),
  [
    ("better", [(1.0, 2.0), (1.1, 2.0), (0.9, 2.1)], "**holds**"),
    ("better", [(2.0, 1.0), (2.0, 1.1), (2.1, 0.9)], "**fails**"),
    ("better", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.1)], "open"),
    ("better", [(1.0, 2.0)], "open"),
    ("not worse", [(1.0, 2.0), (1.1, 2.0), (0.9, 2.1)], "**holds**"),
    ("not worse", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.1)], "**not refuted**"),
    ("not worse", [(2.0, 1.0), (2.0, 1.1), (2.1, 0.9)], "**fails**"),
    ("equal", [(1.0, 1.0), (2.0, 2.0)], "**holds**"),
    ("equal", [(1.0, 1.0), (2.0, 2.0000001)], "**fails**"),
  ],
)
def test_claims_are_judged(relation, pairs, verdict):
  claim = replace(CLAIM, relation=relation)
  assert judge(claim, np.asarray(pairs)).startswith(verdict)


def test_students_interval_is_scipys():
  from scipy import stats

  pairs = np.array([(1.0, 2.0), (1.5, 2.0), (0.9, 2.1)])
  gain = pairs[:, 1] - pairs[:, 0]
  low, _ = stats.t.interval(0.95, 2, loc=gain.mean(), scale=stats.sem(gain))
  said = judge(CLAIM, pairs)
  assert f"better by {gain.mean():.5f} ± {gain.mean() - low:.5f}" in said


def test_runs_of_one_seed_are_compared(sweep):
  results = {
    "both": {
      0: {"psnr_mask": 2.0},
      1: {"psnr_mask": 3.0},
      2: {"psnr_mask": 9.0},
    },
    "past": {0: {"psnr_mask": 1.0}, 1: {"psnr_mask": 2.0}},
  }
  (said,) = verdicts(sweep, results)
  assert "better by 1.00 ± 0.00, 95 %, 2 seeds" in said
  assert "| both | 3 | 4.67 ± 2.19 |" in markdown(sweep, "test", results)


@pytest.mark.parametrize("name", ["ablation_guidance", "ablation_loss"])
def test_the_shipped_sweeps_load(name):
  sweep = load_sweep(CONFIGS / f"{name}.py", ["seeds=0,5"])
  assert sweep.seeds == (0, 5)
  assert len({v.name for v in sweep.variants}) == len(sweep.variants)


def test_mistakes_end_in_one_line(tmp_path):
  def loading(text, *overrides):
    path = tmp_path / "sweep.py"
    path.write_text(text)
    return load_sweep(path, overrides)

  shipped = (CONFIGS / "ablation_loss.py").read_text()
  shipped = shipped.replace(
    "Path(__file__).with_name", f"Path('{CONFIGS}').joinpath"
  )
  assert loading(shipped).title == "Loss"
  with pytest.raises(
    InputError, match=r"unknown config key diffusion_stage\.stops"
  ):
    loading(shipped, "diffusion_stage.stops=1")
  with pytest.raises(InputError, match="seeds=x: give numbers"):
    loading(shipped, "seeds=x")
  with pytest.raises(InputError, match="a claim about no-notion"):
    loading(shipped.replace('second="no-motion"', 'second="no-notion"'))
  with pytest.raises(InputError, match="two variants have one name"):
    loading(shipped.replace('name="zero"', 'name="dual"'))
  with pytest.raises(InputError, match="no metric psnr_musk; there are"):
    loading(shipped.replace('metric="psnr_mask"', 'metric="psnr_musk"'))
  with pytest.raises(InputError, match=r"must return a diffmvr_jax Sweep"):
    loading("def get_sweep(): return 1")
  with pytest.raises(InputError, match="no such config file"):
    load_sweep(tmp_path / "missing.py")


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
