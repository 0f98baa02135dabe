import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from diffmvr_jax.live.server import make_app
from diffmvr_jax.live.session import Session
from diffmvr_jax.live.sources import choices
from diffmvr_jax.live.uploads import Uploads
from tests.live import scene


@dataclass
class Served:
  """A server that runs in this process."""

  address: str
  session: Session
  uploads: Uploads
  port: int


@contextlib.contextmanager
def serving(
  token: str | None = None,
  sources: tuple[str, ...] = ("browser",),
  port=0,
  certificate: tuple[Path, Path] | None = None,
) -> Iterator[Served]:
  session = Session(scene.restorer(), choices(list(sources)))
  uploads = Uploads(scene.restorer(), session.meter, largest=2**20)
  config = uvicorn.Config(
    make_app(session, uploads, token),
    port=port,
    log_level="warning",
    access_log=False,
    timeout_graceful_shutdown=1,
    ssl_certfile=None if certificate is None else certificate[0],
    ssl_keyfile=None if certificate is None else certificate[1],
  )
  server = uvicorn.Server(config)
  thread = threading.Thread(target=server.run)
  thread.start()
  while not server.started:
    time.sleep(0.01)
  port = server.servers[0].sockets[0].getsockname()[1]
  try:
    scheme = "http" if certificate is None else "https"
    yield Served(f"{scheme}://127.0.0.1:{port}", session, uploads, port)
  finally:
    server.should_exit = True
    thread.join(timeout=15)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
  with serving() as running:
    yield running


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
  """Chromium with a camera that shows the scene."""
  sync_api = pytest.importorskip("playwright.sync_api")
  program = shutil.which("chromium")
  if program is None:
    pytest.skip("Chromium is not installed; apt-get install chromium")
  film = tmp_path_factory.mktemp("camera") / "scene.y4m"
  scene.write_y4m(film, scene.frames(4))
  with sync_api.sync_playwright() as playwright:
    opened = playwright.chromium.launch(
      executable_path=program,
      args=[
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
      ],
    )
    yield opened
    opened.close()
