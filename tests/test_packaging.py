"""What is not Python and has to be in the wheel is in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffmvr_jax import pretrained

ROOT = Path(__file__).parents[1]
LARGEST = 25e6  # bytes of all models together


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """The folder that a wheel is made of."""
  folder = tmp_path_factory.mktemp("wheel")
  places = ["--build-base", folder / "base", "--build-lib", folder / "lib"]
  subprocess.run(
    [sys.executable, "setup.py", "--quiet", "build", *places],
    cwd=ROOT,
    check=True,
    capture_output=True,
  )
  return folder / "lib"


def test_models_and_configurations_are_in_the_wheel(built):
  needed = [
    *pretrained.FOLDER.glob("*.safetensors"),
    *(ROOT / "configs").glob("*.py"),
    ROOT / "diffmvr_jax" / "evaluation" / "report.html",
    *(ROOT / "diffmvr_jax" / "live" / "page").iterdir(),
    ROOT / "data_prep" / "portraits" / "triangles.npy",
    ROOT / "launch" / "astronaut_mesh.npy",
  ]
  assert pretrained.flow_prior_file() in needed
  for path in needed:
    copy = built / path.relative_to(ROOT)
    assert copy.read_bytes() == path.read_bytes()


def test_models_are_small():
  files = pretrained.FOLDER.glob("*.safetensors")
  assert 0 < sum(path.stat().st_size for path in files) < LARGEST
