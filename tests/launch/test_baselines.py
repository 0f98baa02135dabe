"""Other methods' scripts, with a program that stands in for the method.

The stand-in takes the options that the method's own program has, and gives the
frames back; the true programs need their weights, and are not run.
"""

import os
import stat
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.evaluation.clips import from_folder
from launch.baselines.frames import main

SCRIPTS = Path(__file__).parents[2] / "launch" / "baselines"
STAND_IN = """#!/bin/bash
set -euo pipefail
for i in "$@"; do
  case $i in
    *predict.py) kind=lama ;; *propainter.py) kind=propainter ;;
    test.py) kind=e2fgvi ;; inference_reference) kind=lgvi ;;
    indir=*) indir=${i#indir=} ;; outdir=*) outdir=${i#outdir=} ;;
  esac
done
while (($#)); do
  case $1 in
    --video | --video_path) video=$2 ;; --mask) mask=$2 ;;
    --output | --output_path) output=$2 ;;
  esac
  shift
done
case $kind in
  lama) for m in "$indir"/*_mask001.png; do
      cp "${m/_mask001/}" "$outdir/$(basename "$m")"
    done ;;
  propainter) [[ -d $mask ]]; name=$(basename "$video")
    mkdir -p "$output/$name"; cp -r "$video" "$output/$name/frames" ;;
  lgvi) cp -r "$video" "$output" ;;
  e2fgvi) [[ -d $mask ]]; mkdir -p results
    echo video > "results/$(basename "$video")_results.mp4" ;;
esac
"""


@pytest.fixture(scope="module")
def clips(tiny_data, tmp_path_factory):
  out = tmp_path_factory.mktemp("with a space") / "clips"
  main(["--data", str(tiny_data), "--split", "test", "--out", str(out)])
  return out


@pytest.fixture
def checkout(tmp_path):
  folder = tmp_path / "a checkout"
  folder.mkdir()
  program = folder / "python"
  program.write_text(STAND_IN)
  program.chmod(program.stat().st_mode | stat.S_IXUSR)
  return folder


def run(script, checkout, clips, out, *options):
  return subprocess.run(
    [
      *("bash", SCRIPTS / script, "--checkout", checkout),
      *("--clips", clips, "--out", out, *options),
    ],
    env=os.environ | {"PYTHON": str(checkout / "python")},
    capture_output=True,
    text=True,
    check=False,
  )


def test_clips_are_written_as_pictures(tiny_data, clips):
  records = RecordSource(tiny_data, "test")
  name, positions = next(records.videos())
  clip = read_frames(records, list(positions))
  for i in (0, len(positions) - 1):
    frame = cv2.imread(str(clips / "frames" / name / f"{i:05}.png"))
    np.testing.assert_array_equal(frame[..., ::-1], clip["frame"][i])
    mask = cv2.imread(str(clips / "masks" / name / f"{i:05}.png"))
    np.testing.assert_array_equal(mask[..., :1], clip["mask"][i] * 255)


@pytest.mark.parametrize("script", ["propainter.sh", "lama.sh", "lgvi.sh"])
def test_what_a_method_makes_can_be_measured(
  script, checkout, clips, tiny_data, tmp_path
):
  out = tmp_path / "out"
  done = run(script, checkout, clips, out)
  assert done.returncode == 0, done.stderr
  records = RecordSource(tiny_data, "test")
  name, positions = next(records.videos())
  clip = read_frames(records, list(positions))
  assert [p.name for p in out.iterdir()] == [name]
  np.testing.assert_array_equal(from_folder(out)(name, clip), clip["frame"])


def test_e2fgvis_videos_are_collected(checkout, clips, tmp_path):
  done = run("e2fgvi.sh", checkout, clips, tmp_path / "out")
  assert done.returncode == 0, done.stderr
  (clip,) = (clips / "frames").iterdir()
  assert (tmp_path / "out" / f"{clip.name}.mp4").read_text() == "video\n"


@pytest.mark.parametrize(
  ("script", "program"),
  [
    ("propainter.sh", "inference_propainter.py --video"),
    ("e2fgvi.sh", "test.py --model e2fgvi_hq"),
    ("lama.sh", "bin/predict.py model.path="),
    ("lgvi.sh", "-m inference_reference --video_path"),
  ],
)
def test_a_dry_run_only_prints(script, program, checkout, clips, tmp_path):
  done = run(script, checkout, clips, tmp_path / "out", "--dry-run")
  assert done.returncode == 0, done.stderr
  assert program in done.stdout
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--clips", "nothing"], "nothing: no frames and masks"),
    (["--checkout", "nothing"], "nothing: no such folder"),
    (["--out", ""], "--out is missing"),
    (["--fast", "x"], "unknown option --fast"),
  ],
)
def test_mistakes_end_in_one_line(options, message, checkout, clips, tmp_path):
  done = run("lama.sh", checkout, clips, tmp_path / "out", *options)
  assert done.returncode == 2
  assert message in done.stderr
  assert len(done.stderr.splitlines()) == 1
