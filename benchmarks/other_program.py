"""Runs another inpainting program on a clip, as often as it is asked to.

  PYTHON other_program.py e2fgvi|propainter|lama CHECKOUT CLIP THREADS

`beside_others.py` starts it, with the interpreter of the program's own
environment, and so it imports nothing of ours. CLIP/frames/clip/00000.png and
CLIP/masks/clip/00000.png are the clip. Each line on standard input asks for
another run of the program's own code with its default settings; a line of JSON
on standard output answers it: seconds, and what was made.

These things are changed, none of which takes part in the computation:

- Weights are not loaded. The networks keep those that they are drawn with.
- What would be written to a file is kept, and looked at.
- A clock stands in for the progress bar. It runs while the program's loop does,
  less the time that LaMa's loop takes to read and to write files. ProPainter
  computes flow before its loop, and there the clock starts.
- Packages that do not run with a new PyTorch get stand-ins if they are missing:
  of mmcv 1 what E2FGVI uses, on torchvision's deformable convolution, and empty
  classes for albumentations and imgaug, which LaMa uses only in training.
"""

import contextlib
import importlib.util
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
import time
import types

import cv2
import numpy as np
import torch
import tqdm


class Clock:
  """Adds up the time of a run, and keeps what is made in it."""

  def __init__(self):
    self.seconds, self.made, self._start = 0.0, [], 0.0

  def start(self):
    """Starts it, if it does not run yet."""
    if not self._start:
      self._start = time.perf_counter()

  def over(self, items, *_, **__):
    """Stands in for `tqdm`; stops after the last item."""
    self.start()
    yield from items
    self.seconds += time.perf_counter() - self._start
    self._start = 0.0

  def without(self, function):
    """Makes the time of a function's calls not count."""

    def call(*args, **named):
      begun = time.perf_counter()
      result = function(*args, **named)
      self.seconds -= time.perf_counter() - begun
      return result

    return call


def e2fgvi(checkout, clip, clock):
  """Makes a function that runs `test.py` of E2FGVI-HQ."""
  if importlib.util.find_spec("mmcv") is None:
    stand_in_for_mmcv()
  os.environ["MPLBACKEND"] = "Agg"
  videos = clock.made

  class Writer:
    def __init__(self, *_):
      pass

    def write(self, image):
      videos.append(image)

    def release(self):
      pass

  cv2.VideoWriter = Writer
  tqdm.tqdm = clock.over
  sys.argv = ["test.py", "--model", "e2fgvi_hq", "--ckpt", "none"]
  sys.argv += ["--video", f"{clip}/frames/clip", "--mask", f"{clip}/masks/clip"]
  program = runpy.run_path(f"{checkout}/test.py", run_name="program")
  return program["main_worker"]


def propainter(checkout, clip, clock):
  """Makes a function that runs `inference_propainter.py` of ProPainter."""
  import imageio

  # They are in the checkout, which is on the path by now.
  from model.modules.flow_comp_raft import RAFT_bi  # pyright: ignore
  from utils import download_util  # pyright: ignore

  def started(self, *args, forward=RAFT_bi.forward, **named):
    clock.start()
    return forward(self, *args, **named)

  def keep(path, images, **_):
    if path.endswith("inpaint_out.mp4"):
      clock.made.extend(image[..., ::-1] for image in images)

  RAFT_bi.forward = started
  imageio.mimwrite = keep
  tqdm.tqdm = clock.over
  download_util.load_file_from_url = lambda **_: "none"
  sys.argv = ["inference_propainter.py", "--output", "results"]
  sys.argv += ["--video", f"{clip}/frames/clip", "--mask", f"{clip}/masks/clip"]
  path = f"{checkout}/inference_propainter.py"
  return lambda: runpy.run_path(path, run_name="__main__")


def lama(checkout, clip, clock):
  """Makes a function that runs `bin/predict.py` of LaMa."""
  for name in ("albumentations", "imgaug", "imgaug.augmenters"):
    if name not in sys.modules and importlib.util.find_spec(name) is None:
      sys.modules[name] = EmptyClasses(name)
  # The checkout, and what it needs.
  from omegaconf import OmegaConf  # pyright: ignore
  from saicinpainting.evaluation import data  # pyright: ignore

  files = data.InpaintingDataset
  files.__getitem__ = clock.without(files.__getitem__)
  cv2.imwrite = clock.without(lambda _, image: clock.made.append(image))
  os.makedirs("model")
  OmegaConf.save(
    # What the published config.yaml has, and what training alone reads of it.
    OmegaConf.merge(
      OmegaConf.load(f"{checkout}/configs/training/big-lama.yaml"),
      {"trainer": {"kwargs": {}}, "visualizer": {}},
    ),
    "model/config.yaml",
  )
  os.makedirs("in")
  for name in os.listdir(f"{clip}/frames/clip"):
    mask = name.replace(".png", "_mask001.png")
    shutil.copy(f"{clip}/frames/clip/{name}", f"in/{name}")
    shutil.copy(f"{clip}/masks/clip/{name}", f"in/{mask}")
  program = runpy.run_path(f"{checkout}/bin/predict.py", run_name="program")
  tqdm.trange = lambda count: clock.over(range(count))
  config = OmegaConf.merge(
    OmegaConf.load(f"{checkout}/configs/prediction/default.yaml"),
    {"model": {"path": "model"}, "indir": "in/", "outdir": "out"},
  )
  return lambda: program["main"](config)


class EmptyClasses(types.ModuleType):
  """A module that has an empty class of every name; they take anything."""

  def __init__(self, name):
    super().__init__(name)
    self.__path__ = []  # other modules may lie in it

  def __getattr__(self, name):
    if name.startswith("__"):
      raise AttributeError(name)
    return type(name, (), {"__init__": lambda *_, **__: None})


def stand_in_for_mmcv():
  """Makes the parts of mmcv 1 that E2FGVI imports."""
  from torch import nn
  from torchvision.ops import deform_conv2d

  class ConvModule(nn.Sequential):
    def __init__(self, *args, norm_cfg, act_cfg, **named):
      assert norm_cfg is None
      super().__init__(nn.Conv2d(*args, **named))
      if act_cfg is not None:
        self.append(nn.ReLU(inplace=True))

  class ModulatedDeformConv2d(nn.Conv2d):
    def __init__(self, *args, deform_groups, **named):
      super().__init__(*args, **named)
      self.deform_groups = deform_groups

  def modulated(x, offset, mask, weight, bias, stride, padding, dilation, *_):
    return deform_conv2d(
      x, offset, weight, bias, stride, padding, dilation, mask
    )

  def constant_init(module, val, bias=0):
    nn.init.constant_(module.weight, val)
    nn.init.constant_(module.bias, bias)

  parts = {
    "mmcv": {},
    "mmcv.cnn": {"ConvModule": ConvModule, "constant_init": constant_init},
    "mmcv.runner": {"load_checkpoint": lambda *_, **__: None},
    "mmcv.ops": {
      "ModulatedDeformConv2d": ModulatedDeformConv2d,
      "modulated_deform_conv2d": modulated,
    },
  }
  for name, members in parts.items():
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(members)


def serve(name, checkout, clip, threads):
  """Answers each line with a run."""
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)  # what the program says goes to standard error
  torch.set_num_threads(threads)
  sys.path.insert(0, checkout)
  clock = Clock()
  torch.load = lambda *_, **__: {"state_dict": {}}
  # Random weights take the same time.
  torch.nn.Module.load_state_dict = lambda *_, **__: None  # pyright: ignore
  adaptors = {"e2fgvi": e2fgvi, "propainter": propainter, "lama": lama}
  run = adaptors[name](checkout, clip, clock)
  frames = [
    [cv2.imread(f"{clip}/{kind}/clip/{file}") for file in files]
    for kind in ("frames", "masks")
    for files in [sorted(os.listdir(f"{clip}/{kind}/clip"))]
  ]
  for _ in sys.stdin:
    clock.seconds = 0.0
    clock.made.clear()
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
      run()
    changed = np.asarray(clock.made, np.float32) != frames[0]
    inside = np.asarray(frames[1]) > 0
    answer = {
      "seconds": clock.seconds,
      "shape": changed.shape,
      "painted": float(changed[inside].mean()),
    }
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
  with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    name, checkout, clip, threads = sys.argv[1:]
    serve(name, checkout, clip, int(threads))
