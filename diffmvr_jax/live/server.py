"""The server: the page, its WebSockets, and what programs ask for."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import (
  BackgroundTasks,
  FastAPI,
  HTTPException,
  Query,
  Request,
  Response,
  WebSocket,
)
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from diffmvr_jax import __version__
from diffmvr_jax.errors import InputError, described
from diffmvr_jax.live.guard import Guard
from diffmvr_jax.live.session import Session
from diffmvr_jax.live.uploads import (
  TooLargeError,
  TooManyError,
  Upload,
  Uploads,
)
from diffmvr_jax.live.viewers import CameraDesk, watch

_PAGE = Path(__file__).parent / "page"
_LOG = logging.getLogger("diffmvr.live")
_NUMBER = re.compile(r"[0-9]{1,18}")
_VIDEO: dict[int | str, dict[str, Any]] = {
  200: {"content": {"video/mp4": {}}, "description": "the video"}
}


class Health(BaseModel):
  """Whether the server works.

  Attributes:
    status: `ok`.
    arriving: whether frames of the source come.
  """

  status: Literal["ok"] = "ok"
  arriving: bool


class Progress(BaseModel):
  """How far an upload is.

  Attributes:
    id: its name.
    state: what is done with it now.
    frames: number of frames that were read.
    total: how many there will be; 0 if that is not known.
    complaint: why it failed; else empty.
  """

  id: str
  state: Literal["uploading", "waiting", "running", "done", "failed"]
  frames: int
  total: int
  complaint: str


class Problem(BaseModel):
  """Why a request was refused."""

  detail: str


def make_app(session: Session, uploads: Uploads, token: str | None) -> Guard:
  """Makes the application.

  Args:
    session: what is watched.
    uploads: what is restored for download.
    token: see `Guard`.
  """

  @asynccontextmanager
  async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    del app
    yield
    await asyncio.to_thread(session.close)
    await asyncio.to_thread(uploads.close)

  app = FastAPI(
    title="DiffMVR-JAX live",
    version=__version__,
    lifespan=lifespan,
    # Their pages load scripts from elsewhere.
    docs_url=None,
    redoc_url=None,
    responses={401: {"model": Problem}, 403: {"model": Problem}},
  )
  app.exception_handler(InputError)(_refuse)
  app.exception_handler(OSError)(_refuse_for_the_disk)
  app.exception_handler(ClientDisconnect)(_answer_nobody)
  app.mount("/page", StaticFiles(directory=_PAGE), name="page")
  _add_watching(app, session, uploads)
  _add_restoring(app, uploads)
  logging.getLogger("uvicorn.access").disabled = True  # it logs addresses
  return Guard(app, token)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
  del request
  codes = {TooLargeError: 413, TooManyError: 429}
  return JSONResponse({"detail": str(error)}, codes.get(type(error), 422))


async def _refuse_for_the_disk(
  request: Request, error: Exception
) -> JSONResponse:
  """Tells the user the reason, and the server's terminal the place too."""
  del request
  assert isinstance(error, OSError)
  _LOG.error("%s", described(error))
  reason = error.strerror or "it fails"
  return JSONResponse({"detail": f"the server's disk: {reason}"}, 507)


async def _answer_nobody(request: Request, error: Exception) -> Response:
  del request, error
  return Response(status_code=499)


def _add_watching(app: FastAPI, session: Session, uploads: Uploads) -> None:
  desk = CameraDesk(session)

  def status() -> dict[str, Any]:
    return {
      "sources": [choice.label for choice in session.sources],
      "browser": [choice.is_browser for choice in session.sources],
      "chosen": session.sources.index(session.chosen),
      "arriving": session.arriving,
      "recording": session.recording,
      "dropped": session.meter.dropped,
      "viewers": session.meter.viewers_now,
    }

  @app.get("/", include_in_schema=False)
  def page() -> FileResponse:
    return FileResponse(_PAGE / "index.html")

  @app.get("/healthz", summary="Whether the server works")
  def health() -> Health:
    return Health(arriving=session.arriving)

  @app.get("/metrics", summary="Counts, for Prometheus")
  def metrics() -> Response:
    text = generate_latest(session.meter.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)

  @app.get("/status", summary="What is watched")
  def what_is_watched() -> dict[str, Any]:
    return status()

  @app.post("/source/{index}", summary="Choose the source", status_code=204)
  async def choose(index: int) -> None:
    await asyncio.to_thread(session.choose, index)

  @app.post("/recording", summary="Begin to record", status_code=204)
  def record() -> None:
    session.record(uploads.new_file())

  @app.delete(
    "/recording",
    summary="End the recording, and fetch it",
    response_class=FileResponse,
    responses=_VIDEO,
  )
  def stop(after: BackgroundTasks) -> FileResponse:
    path = session.stop_recording()
    if path is None:
      raise HTTPException(404, "no frame was recorded")
    after.add_task(path.unlink, missing_ok=True)
    return FileResponse(path, media_type="video/mp4", filename="recording.mp4")

  @app.websocket("/watch")
  async def watching(socket: WebSocket) -> None:
    await watch(socket, session, status)

  @app.websocket("/camera")
  async def filming(socket: WebSocket) -> None:
    await desk.film(socket)


def _add_restoring(app: FastAPI, uploads: Uploads) -> None:
  @app.post(
    "/restore",
    summary="Restore a video",
    description="The body is the video file. The answer is the restored one "
    "with the source's audio, or with `wait=false` a name under which it can "
    "be asked for.",
    response_model=None,
    responses={
      **_VIDEO,
      202: {"model": Progress, "description": "it is restored meanwhile"},
      413: {"model": Problem, "description": "the file is too large"},
      422: {"model": Problem, "description": "it is no video, or damaged"},
      429: {"model": Problem, "description": "too many wait"},
      507: {"model": Problem, "description": "the server's disk is full"},
    },
    openapi_extra={
      "requestBody": {
        "required": True,
        "content": {"video/*": {"schema": {"type": "string"}}},
      }
    },
  )
  async def restore(
    request: Request,
    after: BackgroundTasks,
    wait: Annotated[bool, Query(description="answer with the video")] = True,
  ) -> Response:
    length = request.headers.get("content-length")
    name = await uploads.take(
      request.stream(),
      int(length) if length and _NUMBER.fullmatch(length) else None,
    )
    upload = uploads.get(name)
    if not wait:
      return JSONResponse(_progress(name, upload).model_dump(), 202)
    try:
      while not await asyncio.to_thread(upload.ended.wait, 1.0):
        if await request.is_disconnected():
          uploads.forget(name)
          return Response(status_code=499)
      return _result(name, upload, uploads, after)
    except asyncio.CancelledError:
      uploads.forget(name)
      raise

  @app.get("/restore/{name}", summary="How far an upload is")
  def progress(name: str) -> Progress:
    return _progress(name, _find(name, uploads))

  @app.get(
    "/restore/{name}/video",
    summary="Fetch the restored video; then it is deleted",
    response_class=FileResponse,
    responses=_VIDEO,
  )
  def result(name: str, after: BackgroundTasks) -> FileResponse:
    return _result(name, _find(name, uploads), uploads, after)

  @app.delete("/restore/{name}", summary="Give up an upload", status_code=204)
  def forget(name: str) -> None:
    uploads.forget(name)


def _find(name: str, uploads: Uploads) -> Upload:
  try:
    return uploads.get(name)
  except KeyError:
    raise HTTPException(404, "there is no such upload") from None


def _progress(name: str, upload: Upload) -> Progress:
  return Progress(
    id=name,
    state=upload.state,
    frames=upload.frames,
    total=upload.total,
    complaint=upload.complaint,
  )


def _result(
  name: str, upload: Upload, uploads: Uploads, after: BackgroundTasks
) -> FileResponse:
  """The restored video, after which the upload is forgotten.

  Raises:
    InputError: it has failed.
    HTTPException: it is not ready.
  """
  if upload.state == "failed":
    uploads.forget(name)
    raise InputError(upload.complaint)
  if upload.state != "done":
    raise HTTPException(409, "it is not restored yet")
  after.add_task(uploads.forget, name)
  return FileResponse(
    upload.result, media_type="video/mp4", filename="restored.mp4"
  )
