"""The report in a browser."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from diffmvr_jax.evaluation.report import player, write_page

SIZE = 64
BROWSER = next(
  filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))),
  None,
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  """Two clips of plain colours: green input, blue truth, grey restored."""
  folder = tmp_path_factory.mktemp("page")
  Image.new("RGB", (4, 4)).save(folder / "sheet.png")
  shape = (6, SIZE, SIZE, 3)
  mask = np.zeros((*shape[:3], 1), np.uint8)
  mask[:, :32] = 1
  clip = {
    "frame": np.full(shape, (0, 180, 0), np.uint8),
    "target": np.full(shape, (0, 0, 200), np.uint8),
    "mask": mask,
  }
  grey = np.full(shape, 100, np.uint8)
  restored = {"ours": grey, "</script> & co": clip["target"]}
  value = {"value": 1.0, "frames": 6, "videos": 2}
  write_page(
    folder / "report.html",
    title="A <test>",
    model="ours",
    summary={
      "methods": {name: {"psnr_mask": value} for name in restored},
      "truth": {},
      "definitions": {
        "psnr_mask": {"title": "PSNR", "definition": "d", "weights": {}}
      },
      "not_computed": {"fvd": "get it there"},
      "conditions": {"device": "a test"},
      "verdict": ["It is so."],
    },
    players=[player(name, clip, restored) for name in ("one", "two")],
    sheet=folder / "sheet.png",
  )
  return folder / "report.html"


def test_the_page_holds_all_it_shows(page):
  text = page.read_text()
  assert not re.search(r"(src|href)=\"(?!data:)", text)
  assert "A &lt;test&gt;" in text
  assert "<dt>FVD</dt><dd>not computed: get it there</dd>" in text
  assert text.count("</script>") == 2


@pytest.fixture(scope="module")
def browser():
  sync_api = pytest.importorskip("playwright.sync_api")
  if BROWSER is None:
    pytest.skip("no Chromium or Chrome")
  with sync_api.sync_playwright() as playwright:
    opened = playwright.chromium.launch(
      executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
    )
    yield opened
    opened.close()


def look(browser, page, shown, tmp_path):
  """A picture of the page, once it has drawn, and whether it saw an error."""
  tab = browser.new_page(viewport={"width": 1000, "height": 700})
  tab.goto(f"file://{page}#{shown}")
  done = "body[data-drawn], body[data-error]"
  tab.wait_for_selector(done, state="attached", timeout=120_000)
  picture = tmp_path / "page.png"
  tab.screenshot(path=picture)
  error = tab.get_attribute("body", "data-error")
  tab.close()
  return np.asarray(Image.open(picture).convert("RGB")).astype(int), error


def area(picture, colour):
  """Pixels of a colour, give or take what compression does to it."""
  return int((np.abs(picture - colour).max(-1) < 30).sum())


def test_a_browser_plays_it(browser, page, tmp_path):
  plain, error = look(browser, page, "frame=2", tmp_path)
  assert error is None
  player_size = area(plain, (0, 180, 0))
  assert player_size > 30_000
  assert area(plain, (0, 0, 200)) == pytest.approx(player_size, rel=0.1)
  assert area(plain, (100, 100, 100)) == pytest.approx(player_size, rel=0.1)

  masked, error = look(browser, page, "frame=2&mask", tmp_path)
  assert error is None
  half = area(masked, (255, 180, 0))
  assert half == pytest.approx(player_size / 2, rel=0.1)

  # Grey minus blue, five times.
  different, _ = look(browser, page, "frame=2&difference", tmp_path)
  assert area(different, (255, 255, 255)) > player_size / 2
  assert area(different, (100, 100, 100)) < player_size / 10

  other = "clip=1&method=%3C/script%3E+%26+co"
  _, error = look(browser, page, other, tmp_path)
  assert error is None
