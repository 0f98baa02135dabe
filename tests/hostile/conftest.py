"""How many of the cases are tried, and how many examples are drawn.

Ordinarily every fifth case of each table, and 60 examples of each property;
`make test-hostile` takes all of them, and 2,000 examples.
"""

from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings

_SAMPLE = 5

# The same examples every time: what fails is to be found again.
_PLAIN = settings(
  max_examples=60,
  deadline=None,
  derandomize=True,
  database=None,
  suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ordinary", _PLAIN)
# `make test-hostile`
settings.register_profile("thorough", _PLAIN, max_examples=2000)
settings.load_profile("ordinary")


def pytest_collection_modifyitems(config, items):
  if config.getoption("--all-hostile"):
    return
  counts, left_out = Counter(), []
  for item in items:
    if Path(__file__).parent not in item.path.parents:
      continue
    table = (item.path, getattr(item, "originalname", item.name))
    if counts[table] % _SAMPLE:
      left_out.append(item)
    counts[table] += 1
  if left_out:
    config.hook.pytest_deselected(items=left_out)
    dropped = set(map(id, left_out))
    items[:] = [item for item in items if id(item) not in dropped]
