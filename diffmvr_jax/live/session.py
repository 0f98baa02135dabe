"""One source, one restoration, and everybody who watches it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.inference.stream import RestoredFrame
from diffmvr_jax.live.encoder import Encoder
from diffmvr_jax.live.message import Numbers, message_of
from diffmvr_jax.live.meter import Meter
from diffmvr_jax.live.outlets import Outlet
from diffmvr_jax.live.pipeline import Arrival, Pipeline
from diffmvr_jax.live.sources import Choice, Feed
from diffmvr_jax.live.states import state_of
from diffmvr_jax.runtime.cpu_memory import return_memory

Viewer = Callable[[bytes], None]
_PAUSE = 2.0  # seconds after a failure until the restoration is tried again
_SILENCE = 3.0  # seconds without a frame after which none is arriving


class Session:
  """Restores the chosen source, and hands each frame to all viewers.

  Args:
    restorer: its recipe's `lookahead` must be 0.
    sources: what the page offers; the first one is opened at once.
    out: where restored frames go, beside the viewers; None means nowhere.
  """

  def __init__(
    self,
    restorer: Restorer,
    sources: list[Choice],
    out: Outlet | None = None,
  ):
    self.sources, self.meter = sources, Meter()
    self._restorer, self._out = restorer, out
    self._lock = threading.RLock()
    self._choosing = threading.Lock()  # two choices would leave two feeds
    self._viewers: list[Viewer] = []
    self._pipeline: Pipeline | None = None
    self._feed: Feed | None = None
    self._recording: Encoder | None = None
    self._recorded: Path | None = None
    self._number = 0
    self._came: float | None = None  # when the newest frame of the source came
    self.chosen = sources[0]
    self.choose(0)

  def choose(self, index: int) -> None:
    """Opens another source.

    Raises:
      InputError: there is none of this number.
    """
    if not 0 <= index < len(self.sources):
      raise InputError("there is no such source")
    with self._choosing:
      self._stop_source()
      with self._lock:
        self.chosen, self._number = self.sources[index], 0
        self.meter.start()
      if not self.chosen.is_browser:
        self._feed = Feed(self.chosen, self._take, self._tell)

  def take_picture(self, picture: bytes, came: float) -> None:
    """Takes a frame of a browser's camera.

    Args:
      picture: a JPEG file; anything else counts as dropped.
      came: when it came, in seconds of `time.monotonic`.
    """
    if self.chosen.is_browser:
      self._take(Arrival(picture, came))

  def camera_left(self) -> None:
    """Notices that the browser with the camera has gone."""
    if self.chosen.is_browser:
      self._came = None
      self._stop_pipeline()

  def watch(self, viewer: Viewer) -> None:
    """Adds a viewer, which is called with every message, by another thread."""
    with self._lock:
      self._viewers.append(viewer)
      self.meter.count_viewers(len(self._viewers))

  def leave(self, viewer: Viewer) -> None:
    """Removes a viewer."""
    with self._lock:
      if viewer in self._viewers:
        self._viewers.remove(viewer)
      self.meter.count_viewers(len(self._viewers))

  def record(self, path: Path) -> None:
    """Begins to record the restored frames.

    Args:
      path: a new file.

    Raises:
      InputError: they are recorded already.
    """
    with self._lock:
      if self._recorded is not None:
        raise InputError("it is recorded already")
      self._recorded = path

  def stop_recording(self) -> Path | None:
    """Ends the recording; returns its file, or None if no frame had come.

    Raises:
      InputError: the disk does not take it; then there is no file.
    """
    with self._lock:
      encoder, path = self._recording, self._recorded
      self._recording = self._recorded = None
      if encoder is None:
        return None
      try:
        encoder.close()
      except InputError:
        if path is not None:
          path.unlink(missing_ok=True)
        raise
      return path

  @property
  def recording(self) -> bool:
    """Whether the restored frames are recorded."""
    return self._recorded is not None

  @property
  def arriving(self) -> bool:
    """Whether frames of the source come."""
    came = self._came
    return came is not None and time.monotonic() - came < _SILENCE

  def close(self) -> None:
    """Ends all threads."""
    with self._choosing:
      self._stop_source()
    with suppress(InputError):  # nobody fetches it any more
      self.stop_recording()
    if self._out is not None:
      self._out.close()

  def _stop_source(self) -> None:
    with self._lock:
      feed, self._feed = self._feed, None
    if feed is not None:
      feed.close()
    self._came = None
    self._stop_pipeline()

  def _stop_pipeline(self) -> None:
    with self._lock:
      pipeline, self._pipeline = self._pipeline, None
    if pipeline is not None:
      pipeline.close()
      return_memory()

  def _tell(self, arriving: bool) -> None:
    if not arriving:
      self._came = None
      # Whoever is filmed when it is back may be somebody else.
      self._stop_pipeline()

  def _take(self, arrival: Arrival) -> None:
    with self._lock:
      self._came = arrival.time
      pipeline = self._pipeline
      failed_at = None if pipeline is None else pipeline.failed_at
      if failed_at is not None and arrival.time - failed_at < _PAUSE:
        return
      if pipeline is None or not pipeline.running:
        pipeline = Pipeline(self._restorer, self._show, self.meter.drop)
        self._pipeline = pipeline
    pipeline.put(arrival)

  def _show(self, done: RestoredFrame, came: float) -> None:
    """Encodes a frame for everybody; called by the pipeline's last thread."""
    with self._lock:
      self._number += 1
      viewers = list(self._viewers)
      numbers = Numbers(
        fps=self.meter.fps,
        latency=1e3 * self.meter.latency,
        dropped=self.meter.dropped,
        viewers=len(viewers),
        recording=self.recording,
      )
    if viewers:
      message = message_of(done, self._number, numbers)
      for viewer in viewers:
        viewer(message)
    self.meter.show(state_of(done).value, came)
    if self._out is not None:
      self._out.write(done.image, came)
    self._write_recording(done, came)

  def _write_recording(self, done: RestoredFrame, came: float) -> None:
    with self._lock:
      if self._recorded is None:
        return
      try:
        if self._recording is None:
          size = done.image.shape[1], done.image.shape[0]
          self._recording = Encoder(self._recorded, size)
        self._recording.write(done.image, came)
      except InputError:  # the frames' size has changed
        pass
