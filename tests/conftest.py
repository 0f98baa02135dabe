"""Fixtures; shapes in signatures are checked at run time in every test."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxtyping import install_import_hook

# Tests compile far more than they compute: optimise little, and keep what is
# compiled, also for the commands that tests start as processes.
if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has what we set here
  _CACHE = tempfile.TemporaryDirectory(prefix="diffmvr-test-")
  if "--full-size" not in sys.argv:
    os.environ["XLA_FLAGS"] = " ".join(
      [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
      ]
    )
  os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

install_import_hook("diffmvr_jax", "beartype.beartype")

import pytest  # noqa: E402 (the hook must precede every import)

from data_prep.__main__ import main as data_prep  # noqa: E402 (as above)
from diffmvr_jax.config import Config, load_config  # noqa: E402 (as above)
from diffmvr_jax.training.loop import train  # noqa: E402 (as above)
from tests.buckets import served  # noqa: E402 (as above)

TINY = Path(__file__).parent / "tiny_config.py"


def pytest_addoption(parser):
  parser.addoption(
    "--full-size", action="store_true", help="parity at the true sizes"
  )
  parser.addoption(
    "--all-hostile", action="store_true", help="all bad input, not a sample"
  )
  parser.addoption("--parity-report", help="write the parity table here")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
  """Records of five drawn clips at 32 px; one is held out."""
  folder = tmp_path_factory.mktemp("data") / "records"
  data_prep(["export", "procedural:0-4", "--out", str(folder), "--size", "32"])
  return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_data) -> Config:
  """A configuration that trains in seconds."""
  return load_config(TINY, [f"data.path={tiny_data}"])


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_config, tmp_path_factory) -> Path:
  """The workdir of a finished tiny training."""
  workdir = tmp_path_factory.mktemp("train") / "run"
  train(tiny_config, workdir)
  return workdir


@pytest.fixture(scope="session")
def bucket(tmp_path_factory) -> Iterator[str]:
  """An empty bucket on a server of this machine."""
  with served(tmp_path_factory.mktemp("buckets") / "log") as name:
    yield name


@pytest.fixture(scope="session")
def assets() -> Path:
  """Real clips and MediaPipe's models; tests that need them skip without."""
  default = Path(__file__).parents[2] / "shared" / "assets"
  folder = Path(os.environ.get("DIFFMVR_TEST_ASSETS", default))
  if not folder.is_dir():
    pytest.skip("set DIFFMVR_TEST_ASSETS to a folder of real clips")
  return folder
