"""Counts frames, and how long each takes; for the page and for Prometheus."""

import threading
import time
from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SPAN = 2.0  # seconds over which frames per second are counted
_BUCKETS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2, 0.3, 0.5, 1, 2)


class Meter:
  """What is counted while the server runs.

  Attributes:
    registry: holds the metrics; none of them names a person, file or frame.
  """

  def __init__(self) -> None:
    self.registry = CollectorRegistry()
    self._shown = Counter(
      "diffmvr_live_frames",
      "Frames that came out, by what they show",
      ["state"],
      registry=self.registry,
    )
    self._dropped = Counter(
      "diffmvr_live_dropped_frames",
      "Frames that were too late",
      registry=self.registry,
    )
    self._latency = Histogram(
      "diffmvr_live_latency_seconds",
      "From a frame's arrival until its restoration is encoded",
      buckets=_BUCKETS,
      registry=self.registry,
    )
    self._viewers = Gauge(
      "diffmvr_live_viewers", "Pages that watch", registry=self.registry
    )
    self.uploads = Counter(
      "diffmvr_live_uploads",
      "Uploaded videos, by how they ended",
      ["outcome"],
      registry=self.registry,
    )
    self._times: deque[float] = deque()
    self._lock = threading.Lock()
    self.dropped = 0  # since the source was opened
    self.latency = 0.0  # of the last frame, in seconds
    self.viewers_now = 0

  def start(self) -> None:
    """Begins with a new source."""
    with self._lock:
      self._times.clear()
      self.dropped = 0

  def drop(self) -> None:
    """Counts a frame that was too late."""
    with self._lock:
      self.dropped += 1
    self._dropped.inc()

  def count_viewers(self, count: int) -> None:
    """Takes the number of pages that watch."""
    self.viewers_now = count
    self._viewers.set(count)

  def show(self, state: str, came: float) -> None:
    """Counts a frame that came out.

    Args:
      state: what it shows.
      came: when it came in, in seconds of `time.monotonic`.
    """
    now = time.monotonic()
    self.latency = now - came
    self._latency.observe(self.latency)
    self._shown.labels(state).inc()
    with self._lock:
      self._times.append(now)
      while now - self._times[0] > _SPAN:
        self._times.popleft()

  @property
  def fps(self) -> float:
    """Frames per second that came out over the last two seconds."""
    with self._lock:
      if len(self._times) < 2:
        return 0.0
      return (len(self._times) - 1) / max(
        self._times[-1] - self._times[0], 1e-6
      )
