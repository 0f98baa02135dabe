import cv2
import numpy as np
import pytest

from data_prep.occlusion import cutouts
from data_prep.occlusion.paste import OcclusionConfig, unit_to_pixels
from data_prep.occlusion.shapes import Skin
from data_prep.occlusion.sprites import SpriteOcclusion
from data_prep.occlusion.trajectories import COURSES
from diffmvr_jax.errors import InputError

FPS = 25
SIDE = 96
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
OUTLINE = 0.5 + np.stack([0.3 * np.cos(ANGLES), 0.36 * np.sin(ANGLES)], 1)
SKIN = Skin(colour=np.array([120.0, 80, 60]), texture=np.ones((8, 8)))
# The first frames stay free of all but what is there from the beginning.
PAUSE = (0.15, 0.6)


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
  """Two pictures with the colours and the cut wrists of hands."""
  folder = tmp_path_factory.mktemp("hands")
  rng = np.random.default_rng(0)
  for k in range(2):
    alpha = np.zeros((176, 120), np.uint8)
    cv2.ellipse(alpha, (60, 100), (38, 46), 0, 0, 360, 255, -1)
    for x in (30, 50, 70, 90):
      cv2.line(alpha, (x, 20 + 10 * k), (x, 100), 255, 14)
    cv2.rectangle(alpha, (38, 120), (82, 176), 255, -1)
    colour = np.array([120.0, 150, 200]) + rng.normal(0, 12, (176, 120, 1))
    bgra = np.dstack([np.clip(colour, 0, 255).astype(np.uint8), alpha])
    cv2.imwrite(str(folder / f"hand_{k}.png"), bgra)
  return folder


def occlusion(hands, seed, **options):
  return SpriteOcclusion(
    OcclusionConfig(kinds=(f"sprites:{hands}",), pause=PAUSE),
    seed=seed,
    skin=SKIN,
    face_outline=OUTLINE,
    fps=FPS,
    resolution=SIDE,
    **options,
  )


def play(hands, seed, frames=50):
  rng = np.random.default_rng(seed)
  picture = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
  picture = cv2.GaussianBlur(picture, (0, 0), 2)
  pasting = occlusion(hands, seed)
  pasted = [pasting.paste(picture, i / FPS) for i in range(frames)]
  return pasting, picture, pasted


def face_share(mask):
  face = np.zeros((SIDE, SIDE), np.uint8)
  cv2.fillConvexPoly(face, (OUTLINE * SIDE).astype(np.int32), 1)
  return float((mask & face).sum() / face.sum())


@pytest.mark.parametrize("seed", range(8))
def test_only_what_the_mask_covers_changes(hands, seed):
  _, picture, pasted = play(hands, seed)
  assert any(mask.any() for _, mask in pasted)
  for image, mask in pasted:
    assert mask.dtype == np.uint8 and mask.max() <= 1
    assert (image[mask == 0] == picture[mask == 0]).all()
    changed = np.abs(image.astype(int) - picture).max(-1) > 0
    if mask.mean() > 0.02:
      # A rim of one pixel, and pixels of the same colour by chance.
      assert changed[mask > 0].mean() > 0.75


def test_it_is_a_function_of_the_seed(hands):
  for seed in (1, 2):
    _, _, first = play(hands, seed, frames=20)
    _, _, again = play(hands, seed, frames=20)
    for (image, mask), (image2, mask2) in zip(first, again, strict=True):
      assert (image == image2).all() and (mask == mask2).all()


def test_courses_differ_in_what_they_cover(hands):
  shares = {name: [] for name in COURSES}
  for seed in range(30):
    pasting, _, pasted = play(hands, seed, frames=40)
    shares[pasting.course].append([face_share(mask) for _, mask in pasted])
  assert all(shares.values())
  resting = np.concatenate([np.ravel(s) for s in shares.values()])
  resting = resting[resting > 0.1]
  assert 0.15 < np.median(resting) < 0.6
  assert (resting > 0.9).mean() < 0.05
  for name, free in (("begins covered", False), ("visits", True)):
    first = np.array([clip[0] for clip in shares[name]])
    assert ((first < 0.02) == free).mean() > 0.7
  # Never free all at once.
  assert (np.array(shares["parts"]) > 0.02).mean() > 0.97
  longest = np.array(shares["long"]).clip(0.05) > 0.05
  assert longest.mean() > 0.4


def test_hands_take_the_skin_of_the_person(hands):
  rng = np.random.default_rng(0)
  bare = [cutouts.hand(hands, rng, SKIN.colour) for _ in range(6)]
  for cutout in bare:
    palm = np.array(cutout.anchor).round().astype(int)
    patch = cutout.image[palm[1] - 8 : palm[1] + 8, palm[0] - 8 : palm[0] + 8]
    assert (patch[..., 3] == 255).all()
    colour = np.median(patch[..., :3], axis=(0, 1))
    assert np.abs(colour - SKIN.colour).max() < 60
    assert colour[0] > colour[1] > colour[2]


def test_arms_reach_beyond_the_picture(hands):
  rng = np.random.default_rng(1)
  cutout = cutouts.hand(hands, rng, SKIN.colour, length=60)
  alpha = cutout.image[..., 3]
  rows = np.flatnonzero((alpha > 128).any(1))
  assert rows[-1] == len(alpha) - 1
  # No gap between hand and arm.
  assert (np.diff(rows) == 1).all()
  assert len(alpha) > 2.5 * 60


def test_frames_of_a_video_can_be_pasted_on(hands):
  pasting = occlusion(hands, 5)
  frame = np.full((120, 200, 3), 90, np.uint8)
  to_frame = np.array([[90.0, 5, 60], [-5, 90, 20]])
  shares = []
  for i in range(50):
    image, mask = pasting.paste(frame, 7 + i / FPS, to_frame)
    assert (image[mask == 0] == 90).all()
    shares.append(mask.mean())
  assert max(shares) > 0.02
  assert unit_to_pixels(4).shape == to_frame.shape


def test_time_may_jump(hands):
  pasting = occlusion(hands, 6)
  frame = np.full((SIDE, SIDE, 3), 90, np.uint8)
  for time in (1e6, 1e6 + 0.04, 2e6):
    pasting.paste(frame, time)


def test_bad_folders_are_refused_by_name(tmp_path):
  with pytest.raises(InputError, match=r"no \.png"):
    OcclusionConfig(kinds=(f"sprites:{tmp_path}",))
  opaque = tmp_path / "opaque.png"
  cv2.imwrite(str(opaque), np.zeros((8, 8, 3), np.uint8))
  with pytest.raises(InputError, match=r"opaque\.png: has no alpha"):
    cutouts.hand(tmp_path, np.random.default_rng(0), SKIN.colour)


def test_other_pictures_are_pasted_as_they_are(tmp_path):
  bgra = np.zeros((40, 60, 4), np.uint8)
  bgra[10:30, 10:50] = (200, 40, 10, 255)
  cv2.imwrite(str(tmp_path / "cup.png"), bgra)
  cutout = cutouts.hand(tmp_path, np.random.default_rng(0), SKIN.colour)
  assert cutout.image.shape == (40, 60, 4)
  assert cutout.image[20, 30].tolist() == [10, 40, 200, 255]
