"""What the documentation names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(
  [
    *(README, ROOT / "CONTRIBUTING.md", ROOT / "launch" / "README.md"),
    *(ROOT / "docs").glob("*.md"),
  ]
)
# Folders of the project; others are examples of a user's.
OURS = "diffmvr_jax|data_prep|configs|launch|tests|benchmarks|docs"


@pytest.mark.parametrize(
  "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)
def test_files_and_tests_exist(page):
  text = page.read_text()
  named = re.findall(rf"`((?:{OURS})/[\w./]+)(?:::(\w+))?`", text)
  for file, test in named:
    path = ROOT / file
    assert path.exists(), f"{page.name} names {file}"
    if test:
      assert f"def {test}(" in path.read_text(), f"{page.name} names {test}"
  for target, _, section in re.findall(r"\]\(([\w./]*)(#([\w-]+))?\)", text):
    linked = page.parent / target if target else page
    assert linked.exists(), f"{page.name} links {target}"
    if section:
      assert section in sections(linked), f"{page.name} links #{section}"


def sections(page):
  """What links to the headings of a page end with."""
  headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
  return [
    re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
    for heading in headings
  ]


def test_the_readme_says_where_things_are():
  heading = r"## Where things are\n\n(.*?)\n\n"
  table = re.search(heading, README.read_text(), re.S)
  assert table is not None
  _, _, *rows = table[1].splitlines()
  assert len(rows) > 5
  for row in rows:
    files, names = row.strip("|").split("|")[1:]
    paths = re.findall(r"\]\(([\w./]+)\)", files)
    code = "".join((ROOT / path).read_text() for path in paths)
    for name in re.findall(r"`(\w+)`", names):
      assert re.search(rf"^(def|class) {name}\b", code, re.M), f"{name}: {row}"


def test_the_page_on_fidelity_names_a_test_in_every_row():
  rows = [
    line
    for line in (ROOT / "docs" / "fidelity.md").read_text().splitlines()
    if line.startswith("|") and not re.match(r"\|(-|\s*paper)", line)
  ]
  assert len(rows) > 25
  for row in rows:
    assert "`tests/" in row.split("|")[-2], row
