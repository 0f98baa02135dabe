from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("mediapipe")
skimage_data = pytest.importorskip("skimage.data")

from data_prep import portraits  # noqa: E402 (need the packages above)
from data_prep.__main__ import main as data_prep  # noqa: E402 (as above)
from data_prep.faces.landmarks import extent, oval  # noqa: E402 (as above)
from data_prep.portraits.fit_flow_prior import (  # noqa: E402 (as above)
  flow_between,
  true_flows,
)
from data_prep.portraits.mesh import triangles  # noqa: E402 (as above)
from data_prep.sources import expand  # noqa: E402 (as above)
from diffmvr_jax.data.records import RecordSource  # noqa: E402 (as above)
from diffmvr_jax.errors import InputError  # noqa: E402 (as above)

ROOT = Path(__file__).parents[2]
SIZE = 128
# Of `skimage.data.astronaut()`, as MediaPipe finds it, in 1/32 of a pixel.
MESH = np.load(ROOT / "launch" / "astronaut_mesh.npy") / 32


@pytest.fixture(scope="module")
def portrait():
  return portraits.Portrait(
    path="astronaut.png",
    digest="0",
    image=skimage_data.astronaut(),
    mesh=MESH,
  )


def drawn(portrait, seed, frames=12):
  return portraits.PortraitClip(portrait, seed, frames=frames, size=SIZE)


def detail(image):
  """Brightness without noise, and without the changing light."""
  grey = image.astype(np.float32).mean(-1)
  return cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 8)


def test_triangles_are_those_of_mediapipe():
  from mediapipe.tasks.python import vision

  edges = vision.FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION
  starts = np.array([edge.start for edge in edges]).reshape(-1, 3)
  np.testing.assert_array_equal(triangles()[: len(starts)], starts)


def test_a_clip_is_a_function_of_portrait_and_seed(portrait):
  first = drawn(portrait, 3)
  again, other = drawn(portrait, 3), drawn(portrait, 4)
  frames = list(first.frames())
  for twin in (first, again):
    for a, b in zip(frames, twin.frames(), strict=True):
      assert (a.image == b.image).all()
      assert (a.landmarks == b.landmarks).all()
      assert (a.flow == b.flow).all()
  assert (next(other.frames()).image != frames[0].image).any()
  known = first.landmarks()
  assert all(
    (frame.landmarks == points).all()
    for frame, points in zip(frames, known, strict=True)
  )


@pytest.mark.parametrize("seed", range(3))
def test_flow_leads_from_every_frame_to_the_still(portrait, seed):
  clip = drawn(portrait, seed, frames=30)
  still, rest = clip.resting()
  smooth = detail(still)
  grid = np.dstack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)))
  for frame in list(clip.frames())[::6]:
    # The landmarks move as the picture does.
    x, y = frame.landmarks.round().astype(int).T
    led = frame.landmarks + frame.flow[y, x]
    assert np.median(np.linalg.norm(led - rest, axis=1)) < 1.0
    # And so do the colours, but for light, noise, eyes and mouth.
    place = (grid + frame.flow).astype(np.float32)
    warped = cv2.remap(smooth, *cv2.split(place), cv2.INTER_LINEAR)
    seen = detail(frame.image)
    hull = cv2.convexHull(oval(frame.landmarks).astype(np.int32))
    inside = cv2.fillConvexPoly(np.zeros((SIZE, SIZE), np.uint8), hull, 1) > 0
    likeness = np.corrcoef(warped[inside], seen[inside])[0, 1]
    moved = np.corrcoef(smooth[inside], seen[inside])[0, 1]
    assert likeness > 0.85
    assert likeness > moved - 0.02


def test_heads_move_and_backgrounds_hardly_do(portrait):
  shifts, corners = [], []
  for seed in range(6):
    clip = drawn(portrait, seed, frames=24)
    points = np.stack(clip.landmarks())
    shifts.append(np.ptp(points.mean(1), axis=0).max())
    flows = [clip._drawn(i)[1][:8, :8].reshape(-1, 2) for i in (0, 12, 23)]
    steady = clip._motion.camera[[0, 12, 23]]
    if (steady == [0, 0, 1]).all():
      corners.append(np.abs(np.concatenate(flows)).max())
  assert max(shifts) > 0.03 * SIZE
  assert corners and max(corners) < 0.02 * SIZE


def test_eyes_close_and_mouths_open(portrait):
  gaps = []
  for seed in range(8):
    clip = drawn(portrait, seed, frames=60)
    eye = clip._places[:, [159, 145], 1] @ [-1, 1]
    mouth = clip._places[:, [13, 14], 1] @ [-1, 1]
    gaps.append((eye.min() / eye.max(), np.ptp(mouth)))
  closed, opened = np.array(gaps).T
  assert closed.min() < 0.2
  assert opened.max() > 0.02 * SIZE


def test_bad_portraits_are_refused_by_name(tmp_path):
  missing, text = tmp_path / "missing.jpg", tmp_path / "text.jpg"
  text.write_text("no picture")
  with pytest.raises(InputError, match=r"missing\.jpg: no such file"):
    portraits.load(missing)
  with pytest.raises(InputError, match=r"text\.jpg: not a picture"):
    portraits.load(text)


def test_a_picture_without_a_face_is_refused(assets, tmp_path):
  path = tmp_path / "wall.png"
  cv2.imwrite(str(path), np.full((128, 128, 3), 90, np.uint8))
  with pytest.raises(InputError, match=r"wall\.png: no face"):
    portraits.load(path, assets / "models")


def test_real_portraits_keep_their_face(assets):
  """MediaPipe finds the landmarks of drawn frames where they are known."""
  from contextlib import closing

  from data_prep.detectors.landmarkers import FaceDetector

  files = sorted((assets / "portraits").glob("*.jpg"))[::200]
  if not files:
    pytest.skip("no portraits among the assets")
  with closing(FaceDetector(assets / "models")) as find_face:
    for seed, path in enumerate(files):
      clip = portraits.PortraitClip(
        portraits.load(path, assets / "models"), seed, frames=20
      )
      for frame in list(clip.frames())[::10]:
        found = find_face(frame.image, 0)
        _, side = extent(frame.landmarks)
        error = np.linalg.norm(found.landmarks[0] - frame.landmarks, axis=1)
        assert error.mean() < 0.05 * side


def test_folders_of_portraits_are_expanded(tmp_path):
  for name in ("b.jpg", "a.png", "notes.csv"):
    (tmp_path / name).touch()
  found = expand([f"portraits:{tmp_path}"], clips_per_portrait=2)
  assert [source.video_id for source in found] == ["a", "a@1", "b", "b@1"]
  assert str(found[0]) == str(tmp_path / "a.png")
  single = expand([f"portraits:{tmp_path / 'b.jpg'}"])
  assert [source.video_id for source in single] == ["b"]
  (tmp_path / "empty").mkdir()
  for path, complaint in (("empty", "no picture"), ("none", "no such file")):
    with pytest.raises(InputError, match=complaint):
      expand([f"portraits:{tmp_path / path}"])


def test_portraits_are_exported_with_known_landmarks(assets, tmp_path, capsys):
  stills = sorted((assets / "portraits").glob("*.jpg"))[:1]
  if not stills or not (assets / "hands").is_dir():
    pytest.skip("no portraits and hands among the assets")
  folder = tmp_path / "stills"
  folder.mkdir()
  (folder / "someone.jpg").write_bytes(stills[0].read_bytes())
  cv2.imwrite(str(folder / "wall.png"), np.full((96, 96, 3), 90, np.uint8))
  out = tmp_path / "data"
  command = [
    *("export", f"portraits:{folder}", "--out", str(out), "--size", "48"),
    *("--paste", f"sprites:{assets / 'hands'}", "--test-share", "0"),
    *("--models", str(assets / "models")),
  ]
  with pytest.raises(SystemExit) as ended:
    data_prep(command)
  assert ended.value.code == 1
  assert "wall.png: no face in this portrait" in capsys.readouterr().err
  records = RecordSource(out, "train")
  assert len(records) == portraits.FRAMES
  outside = [
    np.abs(r.image.astype(int) - r.target)[r.mask == 0].mean()
    for r in (records[i] for i in range(0, len(records), 6))
  ]
  assert max(outside) < 4  # as JPEG leaves them


def test_flow_between_two_pictures_of_one_still():
  y, x = np.mgrid[:40, :40].astype(np.float32)
  grid = np.stack([x, y], -1)
  bent = np.sin(grid / 12)
  now, then = grid + bent + 3, 1.1 * grid - bent[..., ::-1]
  where = grid + flow_between(now, then)
  found = cv2.remap(then, where, None, cv2.INTER_LINEAR)
  inner = np.s_[6:-6, 6:-6]
  assert np.abs(found - now)[inner].max() < 0.05


def test_true_flows_of_a_portrait_are_small_and_repeatable(portrait):
  clip = drawn(portrait, 3)
  first, again = (
    np.stack(list(true_flows(clip, 4, np.random.default_rng(0))))
    for _ in range(2)
  )
  np.testing.assert_array_equal(first, again)
  assert first.shape == (4, 32, 32, 2)
  assert 1e-4 < np.abs(first).mean() < 0.05


def test_a_flow_prior_is_fitted_to_portraits_only(tmp_path):
  with pytest.raises(InputError, match="portraits:DIR only"):
    data_prep(
      ["fit-flow-prior", "procedural:0-1", "--out", str(tmp_path / "prior")]
    )
