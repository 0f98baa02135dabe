"""What the documentation names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
# Folders of the project; others are examples of a user's.
OURS = "diffmvr_jax|data_prep|configs|launch|tests|benchmarks|docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_tests_exist(page):
  text = page.read_text()
  named = re.findall(rf"`((?:{OURS})/[\w./]+)(?:::(\w+))?`", text)
  for file, test in named:
    path = ROOT / file
    assert path.exists(), f"{page.name} names {file}"
    if test:
      assert f"def {test}(" in path.read_text(), f"{page.name} names {test}"
  for target in re.findall(r"\]\(([\w./]+\.(?:md|png))\)", text):
    assert (page.parent / target).exists(), f"{page.name} links {target}"


def test_the_page_on_fidelity_names_a_test_in_every_row():
  rows = [
    line
    for line in (ROOT / "docs" / "fidelity.md").read_text().splitlines()
    if line.startswith("|") and not re.match(r"\|(-|\s*paper)", line)
  ]
  assert len(rows) > 25
  for row in rows:
    assert "`tests/" in row.split("|")[-2], row
