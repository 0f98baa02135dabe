"""Runs LGVI's program on a clip, 24 frames at a time, and writes pictures.

  PYTHON lgvi_parts.py FRAMES OUT ARGUMENTS…

It runs in LGVI's checkout with LGVI's interpreter, and so imports nothing of
ours. The program gets ARGUMENTS, and the frames of each part as its video.
"""

import os
import runpy
import sys
import tempfile

import numpy as np
from PIL import Image

_PART = 24  # frames that the program reads


def main(frames, out, arguments):
  """Restores all frames of a folder of pictures."""
  sys.path.insert(0, os.getcwd())
  # It is in the checkout.
  from rovi import util  # pyright: ignore[reportMissingImports]

  names = sorted(os.listdir(frames))
  os.makedirs(out)
  for start in range(0, len(names), _PART):
    part = names[start : start + _PART]

    def save(videos, path, *_, part=part, **options):
      """Takes (1, 3, frame, h, w) in [0, 1], as `save_videos_grid` does."""
      images = np.asarray(videos, np.float32)[0].transpose(1, 2, 3, 0)
      if len(images) != len(part):
        raise RuntimeError(f"{len(images)} frames came back of {len(part)}")
      for number, name in enumerate(part):
        levels = images[number].clip(0, 1) * 255
        levels = levels.round().astype(np.uint8)
        with Image.open(os.path.join(frames, name)) as original:
          size = original.size
        scaled = Image.fromarray(levels).resize(size, Image.BICUBIC)
        scaled.save(os.path.join(out, name))

    util.save_videos_grid = save
    with tempfile.TemporaryDirectory() as folder:
      for name in part:
        source = os.path.join(frames, name)
        os.symlink(os.path.abspath(source), os.path.join(folder, name))
      sys.argv = ["inference_referring", "--video_path", folder, *arguments]
      runpy.run_module("inference_referring", run_name="__main__")


if __name__ == "__main__":
  main(sys.argv[1], sys.argv[2], sys.argv[3:])
