"""The comparison with other programs, tiny, and with a program that stands in.

The stand-in is where E2FGVI's would be; the true programs are not run here.
"""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.beside_others import Program, main
from diffmvr_jax.errors import InputError

pytest.importorskip("diffusers")

TINY = Path(__file__).parents[1] / "tiny_config.py"
# What the benchmark needs of E2FGVI's `test.py`.
STAND_IN = """
import argparse, os
import cv2, torch
from tqdm import tqdm
from mmcv.cnn import ConvModule
from mmcv.ops import ModulatedDeformConv2d, modulated_deform_conv2d
parser = argparse.ArgumentParser()
for name in ("model", "ckpt", "video", "mask"):
  parser.add_argument("--" + name)
args = parser.parse_args()

def main_worker():
  print("text that is no answer")
  net = ConvModule(3, 3, 3, padding=1, norm_cfg=None, act_cfg=None)
  net.load_state_dict(torch.load(args.ckpt))
  deform = ModulatedDeformConv2d(3, 3, 3, padding=1, deform_groups=1)
  names = sorted(os.listdir(args.video))
  images = [cv2.imread(os.path.join(args.video, name)) for name in names]
  made = []
  for image in tqdm(images):
    x = torch.tensor(image).permute(2, 0, 1)[None].float()
    size = x.shape[2:]
    x = modulated_deform_conv2d(
      net(x), torch.zeros(1, 18, *size), torch.ones(1, 9, *size),
      deform.weight, deform.bias, deform.stride, deform.padding,
      deform.dilation, deform.groups, deform.deform_groups,
    )
    painted = x[0].permute(1, 2, 0).detach().numpy().clip(0, 255)
    made.append(255 - painted.astype("uint8") // 2)
  os.makedirs("results", exist_ok=True)
  writer = cv2.VideoWriter("results/clip.mp4", 0, 24, (32, 32))
  for image in made:
    writer.write(image)
  writer.release()
"""


@pytest.fixture
def one_core():
  """PyTorch's threads wait for one another for long on a busy machine."""
  cores = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {min(cores)})
  yield
  os.sched_setaffinity(0, cores)


def test_every_program_gets_a_row(tiny_checkpoint, one_core, tmp_path, capsys):
  checkout = tmp_path / "a checkout"
  checkout.mkdir()
  (checkout / "test.py").write_text(STAND_IN)
  main(
    [
      *("--size", "32", "--frames", "4", "--rounds", "1", "--steps", "1"),
      *("--windows", "1,2", "--checkpoint", str(tiny_checkpoint)),
      *("--config", str(TINY), "--e2fgvi", str(checkout)),
      *("--python", sys.executable),
    ]
  )
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("32 px, 4 covered frames after 17 free ones")
  rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  table = [row for row in rows if len(row) == 6][2:]
  assert [tuple(row[:2]) for row in table] == [
    ("ours", "window 1"),
    ("ours", "window 1, stages overlap"),
    ("ours", "window 1, nothing seen before"),
    ("ours", "window 2"),
    ("ours", "window 2, stages overlap"),
    ("ours", "window 2, nothing seen before"),
    ("diffusers", "1 step, window 1"),
    ("diffusers", "1 step, window 2"),
    ("E²FGVI-HQ", ""),
  ]
  own = {row[1]: float(row[2]) for row in table if row[0] == "ours"}
  for program, _, milliseconds, _, *ratios in table:
    assert float(milliseconds) > 0
    if program == "ours":
      assert ratios == ["", ""]
    for window, ratio in zip((1, 2), ratios, strict=True):
      if program == "diffusers":  # what stands in takes next to no time
        expected = own[f"window {window}"] / float(milliseconds)
        assert float(ratio) == pytest.approx(expected, rel=0.05, abs=0.01)


@pytest.mark.parametrize(
  ("code", "message"),
  [
    (
      "raise SystemExit('no such weights')",
      "X ended; see above why",
    ),
    ("answer([4, 16, 16, 3], 1)", "X made .4, 16, 16, 3."),
    ("answer([4, 32, 32, 3], 0.01)", "X painted 1%"),
  ],
)
def test_what_cannot_be_right_is_refused(code, message, tmp_path):
  answer = """
import json
def answer(shape, painted):
  input()
  print(json.dumps({"seconds": 1, "shape": shape, "painted": painted}))
"""
  command = [sys.executable, "-c", answer + code]
  program = Program("X", command, tmp_path / "log", (4, 32, 32, 3))
  try:
    with pytest.raises(InputError, match=message):
      program({})
  finally:
    program.close()
