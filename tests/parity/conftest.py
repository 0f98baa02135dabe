"""Comparison with PyTorch: the same code at reduced and at true size."""

import time
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

torch.set_num_threads(2)
_ROWS: list[str] = []


@pytest.fixture(scope="session")
def full(request) -> bool:
  """Whether networks have their true size (`make test-parity`)."""
  return request.config.getoption("--full-size")


@pytest.fixture(autouse=True)
def seeded() -> None:
  """Makes PyTorch's initial weights the same in every run."""
  torch.manual_seed(0)


@pytest.fixture
def compare():
  """Asserts a relative L2 distance and notes it for the report.

  `peer` is PyTorch's own output in bfloat16: where rounding alone takes it
  over the bar, ours may not be further from float32 than that.
  """
  started = time.perf_counter()

  def check(case: str, ours, reference, bar: float, peer=None) -> None:
    ours = np.asarray(ours, np.float64)
    reference = np.asarray(reference, np.float64)
    assert ours.shape == reference.shape
    assert np.isfinite(reference).all()
    relative, largest = distance(ours, reference)
    theirs = None if peer is None else distance(peer, reference)[0]
    seconds = time.perf_counter() - started
    _ROWS.append(
      f"| {case} | {largest:.1e} | {relative:.1e} | {bar:.0e} | "
      f"{'' if theirs is None else f'{theirs:.1e}'} | {seconds:.0f} |"
    )
    limit = max(bar, theirs or 0)
    assert relative <= limit, (
      f"{case}: relative L2 {relative:.2e} > {limit:.1e}"
    )

  return check


def distance(values, reference) -> tuple[float, float]:
  """Relative L2 and largest absolute difference."""
  difference = np.asarray(values, np.float64) - reference
  relative = np.linalg.norm(difference) / np.linalg.norm(reference)
  return float(relative), float(np.abs(difference).max())


def pytest_sessionfinish(session, exitstatus):
  report = session.config.getoption("--parity-report", None)
  if report and _ROWS:
    Path(report).write_text(_report())


def _report() -> str:
  import diffusers
  import flax
  import transformers

  versions = {
    "jax": jax.__version__,
    "flax": flax.__version__,
    "torch": torch.__version__,
    "diffusers": diffusers.__version__,
    "transformers": transformers.__version__,
  }
  listed = ", ".join(f"{name} {version}" for name, version in versions.items())
  head = Path(__file__).with_name("report_head.md").read_text()
  return head.format(versions=listed) + "\n".join(_ROWS) + "\n"
