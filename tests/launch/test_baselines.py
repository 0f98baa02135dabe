"""Other methods' scripts, with a program that stands in for the method.

The stand-ins take the options that the methods' own programs have, and give the
frames back; the true programs are not run here.
"""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.evaluation.clips import from_folder
from launch.baselines.frames import main

SCRIPTS = Path(__file__).parents[2] / "launch" / "baselines"
# Programs that take the options of the true ones, and no others, and leave
# their results where those do; each gives the frames back.
STAND_INS = {
  "inference_propainter.py": """
import argparse, os, shutil
parser = argparse.ArgumentParser()
for name in ("video", "mask", "output"):
  parser.add_argument("-" + name[0], "--" + name)
for name in ("height", "width", "mask_dilation", "ref_stride",
             "neighbor_length", "subvideo_length", "raft_iter", "save_fps"):
  parser.add_argument("--" + name, type=int)
parser.add_argument("--save_frames", action="store_true")
args = parser.parse_args()
assert not args.video.endswith(("mp4", "mov", "avi", "MP4", "MOV", "AVI"))
assert len(os.listdir(args.video)) == len(os.listdir(args.mask))
assert args.save_frames
folder = os.path.join(args.output, os.path.basename(args.video), "frames")
shutil.copytree(args.video, folder)
print(args.mask_dilation, args.neighbor_length)
""",
  "test.py": """
import argparse, os
import cv2
assert os.environ["MPLBACKEND"] == "Agg"
from core.utils import read
parser = argparse.ArgumentParser()
parser.add_argument("-v", "--video", required=True)
parser.add_argument("-c", "--ckpt", required=True)
parser.add_argument("-m", "--mask", required=True)
parser.add_argument("--model", choices=["e2fgvi", "e2fgvi_hq"])
for name in ("step", "num_ref", "neighbor_stride", "savefps"):
  parser.add_argument("--" + name, type=int)
args = parser.parse_args()
assert args.model == "e2fgvi_hq" and not args.video.endswith(".mp4")
images = read(args.video)
os.makedirs("results", exist_ok=True)
path = "results/" + args.video.split("/")[-1] + "_results.mp4"
height, width = images[0].shape[:2]
code = cv2.VideoWriter_fourcc(*"mp4v")
writer = cv2.VideoWriter(path, code, 24, (width, height))
for image in images:
  writer.write(image)
writer.release()
""",
  "core/utils.py": """
import os
import cv2

def read(folder):
  names = sorted(os.listdir(folder))
  return [cv2.imread(os.path.join(folder, name)) for name in names]
""",
  "bin/predict.py": """
import glob, os, re, shutil, sys
given = {}
for argument in sys.argv[1:]:
  key, value = argument.split("=", 1)
  # Hydra's grammar: quoted, or of letters that mean nothing to it.
  if value[:1] == "'":
    assert re.fullmatch(r"'([^'\\\\]|\\\\.)*'", value), value
    value = value[1:-1].replace("\\\\'", "'")
  else:
    assert re.fullmatch(r"[\\w./:+-]+", value), value
  given[key] = value
assert given.keys() == {"model.path", "indir", "outdir", "dataset.img_suffix"}
suffix = given["dataset.img_suffix"]
pattern = os.path.join(given["indir"] + "/", "**", "*mask*.png")
for mask in sorted(glob.glob(pattern, recursive=True)):
  frame = mask.rsplit("_mask", 1)[0] + suffix
  shutil.copy(frame, os.path.join(given["outdir"], os.path.basename(mask)))
""",
  "inference_referring.py": """
import argparse, os
import numpy as np
from PIL import Image
from rovi.util import save_videos_grid

parser = argparse.ArgumentParser()
parser.add_argument("--video_path", default="videos/two-birds")
parser.add_argument("--ckpt_path", default="./checkpoints/lgvi")
parser.add_argument("--expr", default="remove the bird on left")
parser.add_argument("--gs", type=float, default=3.0)
parser.add_argument("--igs", type=float, default=1.5)
parser.add_argument("--seed", type=int, default=0)
if __name__ == "__main__":
  args = parser.parse_args()
  assert os.path.isdir(args.ckpt_path)
  names = list(sorted(os.listdir(args.video_path)))[:24]
  frames = []
  for name in names:
    image = Image.open(os.path.join(args.video_path, name)).convert("RGB")
    frames.append(np.asarray(image.resize((512, 320), Image.BILINEAR)))
  video = np.stack(frames).transpose(3, 0, 1, 2)[None] / 255.0
  save_videos_grid(video, f"./results/{args.expr}.gif")
""",
  "rovi/util.py": """
def save_videos_grid(videos, path, rescale=False, n_rows=4, fps=8):
  raise AssertionError("a GIF of 256 colours")
""",
  "checkpoints/lgvi/model_index.json": "{}",
}


@pytest.fixture(scope="module")
def clips(tiny_data, tmp_path_factory):
  out = tmp_path_factory.mktemp("with a space") / "clips"
  main(["--data", str(tiny_data), "--split", "test", "--out", str(out)])
  return out


@pytest.fixture
def checkout(tmp_path):
  folder = tmp_path / "a checkout, (new) [1]"
  for name, text in STAND_INS.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  return folder


def run(script, checkout, clips, out, *options, **environment):
  return subprocess.run(
    [
      *("bash", SCRIPTS / script, "--checkout", checkout),
      *("--clips", clips, "--out", out, *options),
    ],
    env=os.environ | {"PYTHON": sys.executable} | environment,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.fixture(scope="module")
def odd_clips(tmp_path_factory):
  """Two short clips of 128 px with names that programs misread."""
  folder = tmp_path_factory.mktemp("odd") / "clips"
  random = np.random.default_rng(0)
  for name, count in (("a.b_mp4", 3), ("tiré, 1=2", 26)):
    for kind in ("frames", "masks"):
      (folder / kind / name).mkdir(parents=True)
      for number in range(count):
        # Smooth, so that scaling there and back changes little.
        image = cv2.resize(
          random.integers(0, 256, (4, 4, 3), np.uint8), (128, 128)
        )
        cv2.imwrite(str(folder / kind / name / f"{number:05}.png"), image)
  return folder


def test_clips_are_written_as_pictures(tiny_data, clips):
  records = RecordSource(tiny_data, "test")
  name, positions = next(records.videos())
  clip = read_frames(records, list(positions))
  for i in (0, len(positions) - 1):
    frame = cv2.imread(str(clips / "frames" / name / f"{i:05}.png"))
    np.testing.assert_array_equal(frame[..., ::-1], clip["frame"][i])
    mask = cv2.imread(str(clips / "masks" / name / f"{i:05}.png"))
    np.testing.assert_array_equal(mask[..., :1], clip["mask"][i] * 255)


@pytest.mark.parametrize(
  "script", ["propainter.sh", "e2fgvi.sh", "lama.sh", "lgvi.sh"]
)
def test_the_true_command_lines_give_every_clip(
  script, checkout, odd_clips, tmp_path
):
  """Twice, since a second run must not trip over the first."""
  out = tmp_path / "what it's [made]"
  stopped = out / ".work" / "clip" / "frames"  # an earlier run left this
  stopped.mkdir(parents=True)
  (stopped / "9999.png").touch()
  for _ in range(2):
    done = run(script, checkout, odd_clips, out)
    assert done.returncode == 0, done.stderr
  assert (out / "PROTOCOL.txt").read_text().strip()
  names = sorted(p.name for p in (odd_clips / "frames").iterdir())
  made = {p.name for p in out.iterdir() if p.is_dir()}
  assert sorted(made - {".work"}) == names
  for name in names:
    paths = sorted((odd_clips / "frames" / name).iterdir())
    expected = np.stack([cv2.imread(str(p))[..., ::-1] for p in paths])
    restored = from_folder(out)(name, {"frame": expected})
    if script == "lgvi.sh":
      assert np.abs(restored.astype(int) - expected).mean() < 3
    else:
      np.testing.assert_array_equal(restored, expected)


def test_propainters_protocol_is_the_published_one(
  checkout, odd_clips, tmp_path
):
  def used(*options):
    done = run("propainter.sh", checkout, odd_clips, tmp_path / "o", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0]

  assert used() == "4 20"
  assert used("--as-given") == "0 10"
  assert "as given" in (tmp_path / "o" / "PROTOCOL.txt").read_text()


@pytest.mark.parametrize(
  ("script", "least"), [("propainter.sh", 128), ("e2fgvi.sh", 54)]
)
def test_clips_that_are_too_small_are_refused(
  script, least, checkout, clips, tmp_path
):
  done = run(script, checkout, clips, tmp_path / "out")
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert "is 32x32" in line and f"works from {least} px" in line


def test_a_relative_interpreter_is_found(checkout, clips, tmp_path):
  done = run(
    "lama.sh",
    checkout,
    clips,
    tmp_path / "out",
    PYTHON=os.path.relpath(sys.executable),
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
  ("script", "program"),
  [
    ("propainter.sh", "inference_propainter.py --video"),
    ("e2fgvi.sh", "test.py --model e2fgvi_hq"),
    ("lama.sh", "bin/predict.py model.path="),
    ("lgvi.sh", "--ckpt_path checkpoints/lgvi --expr"),
  ],
)
def test_a_dry_run_only_prints(script, program, checkout, odd_clips, tmp_path):
  done = run(script, checkout, odd_clips, tmp_path / "out", "--dry-run")
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
