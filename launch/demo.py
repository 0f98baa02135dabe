"""What the model that comes with the package does, on real and drawn faces.

  python -m launch.demo [--out runs/demo]

The photograph of an astronaut in scikit-image's wheel is set in motion, and
drawn hands pass over it and over ten drawn people, so that the truth is known.
The model restores them, and is compared with methods that need no training.
Nothing is downloaded. Ends with code 1 if the model loses to one of them.
"""

import csv
import io
import time
from pathlib import Path

import cv2
import numpy as np

from data_prep.__main__ import main as prepare_data
from data_prep.portraits import mesh_file
from diffmvr_jax.checkpoints.model import open_for_inference
from diffmvr_jax.command_line.arguments import ArgumentParser
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.files import make_folder, write_atomically
from diffmvr_jax.pretrained import DEFAULT, PREFIX
from launch.compared import compare, say

PERSON, CLIPS = "astronaut", 2  # and the number of clips of this person
PEOPLE = range(200, 210)  # drawn ones, whom `launch.demo_train` does not draw
SIZE = 128  # the model's
# As MediaPipe finds it in the photograph, in 1/32 of a pixel.
_MESH = Path(__file__).with_name("astronaut_mesh.npy")


def main(argv: list[str]) -> None:
  """Runs the demo."""
  parser = ArgumentParser(prog="python -m launch.demo", description=__doc__)
  parser.add_argument("--out", type=Path, default=Path("runs/demo"))
  parser.add_argument("--checkpoint", type=Path, default=Path(PREFIX + DEFAULT))
  arguments = parser.parse_args(argv)
  out = arguments.out
  start = time.perf_counter()
  open_for_inference(arguments.checkpoint)  # refused now, not minutes later
  portraits, data = out / "portraits", out / "data"
  make_folder(portraits)
  say("1/2 setting a photograph in motion, drawing people and hands")
  write_photograph(portraits / f"{PERSON}.png")
  write_subjects(out / "subjects.csv")
  prepare_data(
    [
      *("export", f"portraits:{portraits}"),
      f"procedural:{PEOPLE.start}-{PEOPLE.stop - 1}",
      *("--clips-per-portrait", str(CLIPS)),
      *("--out", str(data), "--size", str(SIZE)),
      *("--occlusion-ratio", "0.3-0.5", "--occlusion-seconds", "0.4-0.8"),
      *("--subjects", str(out / "subjects.csv"), "--test-share", "0"),
      *("--workers", "2"),
    ]
  )
  say("2/2 restoring, and comparing")
  compare(arguments.checkpoint, data, out, start)


def write_photograph(path: Path) -> None:
  """Writes scikit-image's photograph, and the mesh of its face beside it.

  Raises:
    InputError: scikit-image is not installed.
  """
  try:
    from skimage.data import astronaut
  except ImportError as error:
    raise InputError(
      "scikit-image is missing; pip install 'diffmvr-jax[demo]'"
    ) from error
  image = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
  write_atomically(path, cv2.imencode(".png", image)[1].tobytes())
  mesh = io.BytesIO()
  np.save(mesh, np.load(_MESH) / 32)
  write_atomically(mesh_file(path), mesh.getvalue())


def write_subjects(path: Path) -> None:
  """Writes the table that says that nobody is there to be trained on."""
  names = [PERSON, *(f"{PERSON}@{i}" for i in range(1, CLIPS))]
  rows = [(name, PERSON, "test") for name in names]
  rows += [(f"procedural_{i:05d}", f"drawn {i}", "test") for i in PEOPLE]
  table = io.StringIO()
  csv.writer(table).writerows([("video", "subject", "split"), *rows])
  write_atomically(path, table.getvalue())


if __name__ == "__main__":
  run_command(main)
