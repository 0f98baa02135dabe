"""The wheel holds the package, whole, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from diffmvr_jax import pretrained

ROOT = Path(__file__).parents[1]
PACKAGES = ("configs", "data_prep", "diffmvr_jax", "launch")
LARGEST = 25e6  # bytes of all models together


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """The contents of the wheel, by path."""
  folder = tmp_path_factory.mktemp("wheel")
  subprocess.run(
    [
      *(sys.executable, "setup.py", "--quiet"),
      *("egg_info", "--egg-base", folder),
      *("build", "--build-base", folder / "base"),
      *("bdist_wheel", "--dist-dir", folder),
      *("--bdist-dir", folder / "unpacked"),
    ],
    cwd=ROOT,
    check=True,
    capture_output=True,
  )
  (path,) = folder.glob("*.whl")
  assert path.name.endswith("-py3-none-any.whl")
  with zipfile.ZipFile(path) as file:
    return {name: file.read(name) for name in file.namelist()}


def test_every_module_is_in_the_wheel_and_no_test(wheel):
  expected = {
    str(path.relative_to(ROOT))
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
  }
  assert {name for name in wheel if name.endswith(".py")} == expected
  folders = {name.split("/")[0] for name in wheel}
  (info,) = folders - set(PACKAGES)
  assert info.endswith(".dist-info")


def test_models_and_configurations_are_in_the_wheel(wheel):
  needed = [
    *pretrained.FOLDER.glob("*.safetensors"),
    *(ROOT / "configs").glob("*.py"),
    ROOT / "diffmvr_jax" / "evaluation" / "report.html",
    *(ROOT / "diffmvr_jax" / "live" / "page").iterdir(),
    ROOT / "data_prep" / "portraits" / "triangles.npy",
    ROOT / "launch" / "astronaut_mesh.npy",
  ]
  assert pretrained.flow_prior_file() in needed
  assert len(needed) > len(PACKAGES) + 10
  for path in needed:
    assert wheel[str(path.relative_to(ROOT))] == path.read_bytes()


def test_the_wheel_names_its_extras(wheel):
  (metadata,) = [
    text.decode() for name, text in wheel.items() if name.endswith("/METADATA")
  ]
  for extra in ("buckets", "cuda", "data-prep", "live", "ray", "test", "tpu"):
    assert f"Provides-Extra: {extra}\n" in metadata


def test_models_are_small():
  files = pretrained.FOLDER.glob("*.safetensors")
  assert 0 < sum(path.stat().st_size for path in files) < LARGEST
