import os

import pytest

from diffmvr_jax.runtime.compiled import one_thread_per_operation

FLAG = "--xla_cpu_multi_thread_eigen"


@pytest.mark.parametrize(
  ("before", "after"),
  [
    (None, f"{FLAG}=false"),
    ("--xla_dump_to=there", f"--xla_dump_to=there {FLAG}=false"),
    (f"{FLAG}=true", f"{FLAG}=true"),
  ],
)
def test_whoever_says_something_of_it_decides(monkeypatch, before, after):
  if before is None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)
  else:
    monkeypatch.setenv("XLA_FLAGS", before)
  one_thread_per_operation()
  assert os.environ["XLA_FLAGS"] == after
