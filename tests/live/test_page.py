"""The page in Chromium, with a camera that shows the scene."""

import base64
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.live import scene
from tests.live.conftest import serving

COVERED = '#state[data-state="covered"]'
PATIENCE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  path = tmp_path_factory.mktemp("film") / "film.mp4"
  scene.write_video(path, scene.frames(1))
  return path


@pytest.fixture
def page(browser):
  """A new page; foreign resources and errors fail the test."""
  context = browser.new_context(viewport={"width": 1000, "height": 800})
  opened = context.new_page()
  trouble = []
  opened.on("pageerror", lambda error: trouble.append(str(error)))
  opened.on(
    "request",
    lambda request: (
      None
      if request.url.startswith(("http://127.0.0.1", "blob:", "data:"))
      else trouble.append(request.url)
    ),
  )
  yield opened
  context.close()
  assert not trouble


def picture_of(page, canvas):
  """What a canvas shows, (h, w, 3) uint8 RGB."""
  address = page.eval_on_selector(canvas, "c => c.toDataURL('image/png')")
  data = np.frombuffer(base64.b64decode(address.split(",")[1]), np.uint8)
  return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def yellow(image):
  return int(((image[..., :2] > 190).all(-1) & (image[..., 2] < 80)).sum())


def test_camera_outline_overlays_slider_still_and_second_viewer(
  served, page, browser, tmp_path
):
  page.goto(served.address)
  page.wait_for_selector('#link[data-link="on"]', timeout=PATIENCE)
  assert page.inner_text("#word") == "Waiting"
  page.click("#camera")
  page.wait_for_selector(COVERED, timeout=PATIENCE)
  # From here on the page keeps this frame.
  page.evaluate("document.querySelector('#camera').click()")
  source = picture_of(page, "#source-canvas")
  restored = picture_of(page, "#restored-canvas")
  assert scene.blue(source).sum() > 2000
  assert scene.blue(restored).sum() < 50
  assert yellow(restored) > 200 > yellow(source)  # the outline, by default
  page.keyboard.press("o")
  assert yellow(picture_of(page, "#restored-canvas")) < 50
  plain = picture_of(page, "#restored-canvas").astype(int)
  for key, button in (("c", "#confidence"), ("m", "#mask")):
    page.keyboard.press(key)
    assert page.get_attribute(button, "aria-pressed") == "true"
    shown = picture_of(page, "#restored-canvas").astype(int)
    assert np.abs(shown - plain).mean() > 1
    page.keyboard.press(key)
  page.keyboard.press("ArrowLeft")
  assert page.get_attribute("#stage", "data-view") == "slider"
  clip = "e => getComputedStyle(e).clipPath"
  assert "48%" in page.eval_on_selector("#after", clip)
  with page.expect_download() as download:
    page.keyboard.press("s")
  still = cv2.imread(str(download.value.path()))
  assert still.shape == (scene.HEIGHT, 2 * scene.WIDTH, 3)

  # The camera starts again, and another page sees the same.
  page.evaluate("document.querySelector('#camera').click()")
  other = browser.new_context(viewport={"width": 360, "height": 740})
  second = other.new_page()
  second.goto(served.address)
  second.wait_for_selector(COVERED, timeout=PATIENCE)
  second.wait_for_function("document.querySelector('#viewers').innerText == 2")
  wide = "document.documentElement.scrollWidth"
  assert second.evaluate(wide) <= 360
  other.close()
  page.keyboard.press("r")
  page.wait_for_selector('#record[aria-pressed="true"]')
  page.wait_for_timeout(1000)
  with page.expect_download() as download:
    page.keyboard.press("r")
  with av.open(download.value.path()) as video:
    assert next(video.decode(video=0)).width == scene.WIDTH


def test_a_file_is_restored_and_downloaded(served, page, film):
  page.goto(served.address)
  data = base64.b64encode(Path(film).read_bytes()).decode()
  page.evaluate(
    """data => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      const files = new DataTransfer();
      files.items.add(new File([bytes], "film.mp4"));
      const options = { dataTransfer: files, bubbles: true };
      document.body.dispatchEvent(new DragEvent("drop", options));
    }""",
    data,
  )
  page.wait_for_selector("#job-result:not([hidden])", timeout=PATIENCE)
  with page.expect_download() as download:
    page.click("#job-result")
  with av.open(download.value.path()) as video:
    assert video.streams.audio
    images = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
  assert not scene.blue(images[-1]).any()
  page.set_input_files(
    "#file", {"name": "a.mp4", "mimeType": "", "buffer": b"?" * 99}
  )
  page.wait_for_selector("#message:not([hidden])", timeout=PATIENCE)
  assert "not a video" in page.inner_text("#message")


def test_a_lost_server_is_found_again_and_a_wrong_token_is_told(page):
  with serving() as served:
    page.goto(served.address)
    page.wait_for_selector('#link[data-link="on"]', timeout=PATIENCE)
  page.wait_for_selector('#state[data-state="lost"]', timeout=PATIENCE)
  with serving(port=served.port):
    page.wait_for_selector('#link[data-link="on"]', timeout=PATIENCE)
    assert page.get_attribute("#state", "data-state") == "waiting"
  with serving(token="right") as served:
    page.goto(f"{served.address}/#token=wrong")
    page.wait_for_selector('#link[data-link="off"]', timeout=PATIENCE)
    assert "token" in page.inner_text("#link")
    page.goto("about:blank")
    page.goto(f"{served.address}/#token=right")
    page.wait_for_selector('#link[data-link="on"]', timeout=PATIENCE)
    assert "right" not in page.url
