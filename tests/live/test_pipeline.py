import threading
import time

import cv2
import numpy as np
import pytest

from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.live.message import Numbers, message_of
from diffmvr_jax.live.newest import Newest
from diffmvr_jax.live.pipeline import Arrival, Pipeline
from diffmvr_jax.live.sources import choices
from diffmvr_jax.live.states import State, state_of
from diffmvr_jax.media.pace import Pace
from tests.live import scene


class Shown:
  """Collects what a pipeline shows, and can hold it up."""

  def __init__(self):
    self.frames, self.times, self.dropped = [], [], 0
    self.go = threading.Event()
    self.go.set()

  def show(self, done, came):
    self.go.wait(20)
    self.frames.append(done)
    self.times.append(came)

  def drop(self):
    self.dropped += 1

  def wait(self, count):
    deadline = time.monotonic() + 60
    while len(self.frames) < count and time.monotonic() < deadline:
      time.sleep(0.01)
    assert len(self.frames) >= count


def jpeg(image):
  bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
  return cv2.imencode(".jpg", bgr)[1].tobytes()


@pytest.fixture
def run():
  shown = Shown()
  before = threading.active_count()
  pipeline = Pipeline(scene.restorer(), shown.show, shown.drop)
  yield pipeline, shown
  shown.go.set()
  pipeline.close()
  deadline = time.monotonic() + 10
  while threading.active_count() > before and time.monotonic() < deadline:
    time.sleep(0.02)
  assert threading.active_count() <= before  # no thread is left


def feed(pipeline, shown, pictures):
  for number, picture in enumerate(pictures, len(shown.frames) + 1):
    pipeline.put(Arrival(picture, time.monotonic()))
    shown.wait(number)


def test_a_covered_face_comes_back_and_the_rest_is_untouched(run):
  pipeline, shown = run
  feed(pipeline, shown, [scene.FREE, scene.FREE, scene.COVERED])
  free, _, covered = shown.frames
  assert state_of(free) is State.FREE and free.image is free.source.image
  assert state_of(covered) is State.COVERED
  assert scene.blue(covered.source.image).mean() > 0.02
  assert not scene.blue(covered.image).any()
  error = np.abs(covered.image.astype(int) - scene.FREE)[scene.BAR]
  assert error.mean() < 6
  outside = covered.alpha == 0
  assert (covered.image[outside] == scene.COVERED[outside]).all()
  assert shown.dropped == 0 and sorted(shown.times) == shown.times


def test_what_was_never_seen_is_called_so(run):
  pipeline, shown = run
  feed(pipeline, shown, [scene.COVERED, np.full_like(scene.FREE, 90)])
  assert state_of(shown.frames[0]) is State.UNSEEN
  # A moment later the face is still awaited where it was.
  assert state_of(shown.frames[1]) in (State.FREE, State.NO_FACE)


def test_the_newest_frame_wins_and_broken_pictures_are_dropped(run):
  pipeline, shown = run
  shown.go.clear()
  for level in range(12):
    picture = scene.FREE.copy()
    picture[:8, :8] = level
    pipeline.put(Arrival(picture, time.monotonic()))
    time.sleep(0.05)
  shown.go.set()
  time.sleep(0.5)
  shown.wait(2)
  levels = [int(done.image[0, 0, 0]) for done in shown.frames]
  assert levels == sorted(levels) and levels[-1] == 11
  assert shown.dropped == 12 - len(levels) > 0
  whole = jpeg(scene.COVERED)
  start = whole.index(b"\xff\xc0") + 5  # height and width follow
  huge = whole[:start] + b"\xff\xff\xff\xff" + whole[start + 4 :]
  for bad in (b"no picture", huge):
    pipeline.put(Arrival(bad, time.monotonic()))
    time.sleep(0.3)
  feed(pipeline, shown, [whole])
  assert shown.dropped == 14 - len(levels)


def test_a_picture_that_another_program_would_open_is_dropped(run, monkeypatch):
  """As Ultralytics' `Image.open` does, which asks for one more package."""

  def missing(*args, **kwargs):
    raise ModuleNotFoundError("pi_heif")

  pipeline, shown = run
  monkeypatch.setattr("diffmvr_jax.live.pipeline.Image.open", missing)
  pipeline.put(Arrival(b"no picture", time.monotonic()))
  time.sleep(0.3)
  monkeypatch.undo()
  feed(pipeline, shown, [scene.FREE])
  assert shown.dropped == 1


def test_where_covered_frames_come_out_late_looks_become_rarer(monkeypatch):
  pace, shown = Pace(2, most=3), Shown()
  monkeypatch.setattr(Restorer, "pace", lambda self: pace)

  def show(done, came):
    time.sleep(0.1)
    shown.show(done, came)

  pipeline = Pipeline(scene.restorer(), show, shown.drop)
  try:
    feed(pipeline, shown, [scene.FREE] * 20)
    assert pace.every == 2
    feed(pipeline, shown, [scene.COVERED] * 20)
    assert pace.every == 3
  finally:
    pipeline.close()


def test_frames_of_another_size_end_the_pipeline(run):
  pipeline, shown = run
  feed(pipeline, shown, [scene.FREE])
  pipeline.put(Arrival(scene.FREE[:100], time.monotonic()))
  deadline = time.monotonic() + 10
  while pipeline.running and time.monotonic() < deadline:
    time.sleep(0.02)
  assert not pipeline.running and "size" in pipeline.complaint


def test_a_message_holds_only_what_is_restored(run):
  pipeline, shown = run
  feed(pipeline, shown, [scene.FREE, scene.COVERED])
  numbers = Numbers(fps=1.0, latency=2.0, dropped=3, viewers=4, recording=False)
  free, covered = (message_of(x, 1, numbers) for x in shown.frames)
  assert b'"parts":[' in free and b"outline" not in free
  assert b'"state":"covered"' in covered and b'"patch":[' in covered


def test_labels_tell_no_path():
  names = ["/ward/anna.mp4", "rtsp://user:secret@cam/1", "camera:2", "browser"]
  labels = " ".join(choice.label for choice in choices(names))
  assert not any(x in labels for x in ("anna", "ward", "secret", "cam/1"))


def test_a_closed_place_lets_everybody_go():
  place: Newest[int] = Newest()
  waiting = threading.Thread(target=place.take)
  waiting.start()
  place.close()
  waiting.join(5)
  assert not waiting.is_alive()
