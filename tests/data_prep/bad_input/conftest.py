"""Everything that a lab's footage folder has been seen to hold.

Each case makes one bad video beside a good one, or one bad setting. A bad
video costs itself: one line names it, the good one is exported, nothing is
left half-written, and the code is 1. A bad setting ends in one line and code
2 before anything is written.
"""

import shutil

import pytest

from tests.data_prep.bad_input.running import IMAGES
from tests.data_prep.clips import CentredRecipe, write_video


@pytest.fixture(scope="module")
def good(tmp_path_factory):
  """A clip that is fine, and its bytes are copied by many cases."""
  path = tmp_path_factory.mktemp("good") / "good.mp4"
  return write_video(path, IMAGES)


@pytest.fixture
def videos(good, tmp_path):
  folder = tmp_path / "videos"
  folder.mkdir()
  shutil.copy(good, folder / "good.mp4")
  return folder


@pytest.fixture(autouse=True)
def without_models(monkeypatch, tmp_path):
  """The face is found without MediaPipe, unless a case asks for a detector."""
  monkeypatch.setattr(
    "data_prep.recipe_options.Recipe",
    lambda **settings: CentredRecipe(
      **settings
      | ({"face": "centred"} if settings["face"] == "mediapipe" else {})
    ),
  )
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.delenv("DIFFMVR_MODELS", raising=False)
