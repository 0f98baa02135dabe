import cv2
import numpy as np
import pytest

from data_prep.occlusion.paste import KINDS, Occlusion, OcclusionConfig
from data_prep.occlusion.shapes import Skin

FPS = 25
SIDE = 96
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
OUTLINE = 0.5 + np.stack([0.3 * np.cos(ANGLES), 0.36 * np.sin(ANGLES)], 1)
SKIN = Skin(colour=np.array([200.0, 150, 120]), texture=np.ones((8, 8)))


def play(seed, frames=60, **options):
  occlusion = Occlusion(
    OcclusionConfig(**options),
    seed=seed,
    skin=SKIN,
    face_outline=OUTLINE,
    fps=FPS,
    resolution=SIDE,
  )
  blank = np.full((SIDE, SIDE, 3), 10, np.uint8)
  pasted = [occlusion.paste(blank, i / FPS) for i in range(frames)]
  return [image for image, _ in pasted], [mask for _, mask in pasted]


def first_visit(masks):
  """The frames of the first visit."""
  shown = np.array([mask.any() for mask in masks])
  start = int(shown.argmax())
  return slice(start, start + int((~shown[start:]).argmax()))


def face_share(mask):
  face = np.zeros((SIDE, SIDE), np.uint8)
  cv2.fillConvexPoly(face, (OUTLINE * SIDE).astype(np.int32), 1)
  return (mask & face).sum() / face.sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_it_enters_rests_and_leaves(kind, seed):
  _, masks = play(seed, kinds=(kind,), seconds=(0.4, 0.5))
  areas = np.array([mask.mean() for mask in masks])
  assert areas[0] == 0  # there is a past frame
  visit = first_visit(masks)
  assert 0 < visit.start < visit.stop < len(masks)
  assert areas[visit].max() > 0.05
  middle = (visit.start + visit.stop) // 2
  rest = areas[middle - 2 : middle + 3]
  assert np.ptp(rest) < 0.2 * rest.max()
  assert areas[visit.start] < rest.max() > areas[visit.stop - 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_covers_every_changed_pixel(kind):
  images, masks = play(2, kinds=(kind,))
  for image, mask in zip(images, masks, strict=True):
    changed = (image != 10).any(-1)
    assert (mask[changed] == 1).all()


@pytest.mark.parametrize("kind", ["hand", "box"])
@pytest.mark.parametrize("ratio", [0.15, 0.3, 0.6])
def test_the_ratio_is_that_of_the_face_at_rest(kind, ratio):
  reached = []
  for seed in range(6):
    _, masks = play(
      seed, 50, kinds=(kind,), ratio=(ratio, ratio), seconds=(1.0, 1.0)
    )
    visit = first_visit(masks)
    middle = (visit.start + visit.stop) // 2
    reached.append(face_share(masks[middle]))
  assert np.median(reached) == pytest.approx(ratio, abs=0.06)


def test_the_duration_can_be_chosen():
  def occluded(seconds):
    _, masks = play(3, 100, seconds=(seconds, seconds), pause=(0.2, 0.2))
    visit = first_visit(masks)
    return visit.stop - visit.start

  longer = occluded(1.0) - occluded(0.2)
  assert longer == pytest.approx(0.8 * FPS, abs=2)


def test_everything_follows_from_the_seed():
  first, _ = play(1)
  again, _ = play(1)
  other, _ = play(2)
  assert all((a == b).all() for a, b in zip(first, again, strict=True))
  assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_timestamps_may_start_anywhere():
  occlusion = Occlusion(
    OcclusionConfig(),
    seed=0,
    skin=SKIN,
    face_outline=OUTLINE,
    fps=FPS,
    resolution=SIDE,
  )
  blank = np.zeros((SIDE, SIDE, 3), np.uint8)
  masks = [occlusion.paste(blank, 1e6 + i / FPS)[1] for i in range(40)]
  assert not masks[0].any() and any(mask.any() for mask in masks)


def test_what_moves_is_blurred(tmp_path):
  white = np.zeros((40, 40, 4), np.uint8)
  white[4:36, 4:36] = 255
  cv2.imwrite(str(tmp_path / "white.png"), white)
  images, masks = play(5, kinds=(f"sprites:{tmp_path}",), seconds=(0.6, 0.6))
  visit = first_visit(masks)

  def soft_pixels(i):
    grey = images[i][..., 0]
    return ((grey > 40) & (grey < 220)).sum()

  middle = (visit.start + visit.stop) // 2
  moving = max(soft_pixels(i) for i in range(visit.start, visit.start + 5))
  assert moving > 2 * soft_pixels(middle)


def test_skin_takes_colour_and_texture_from_the_region():
  rng = np.random.default_rng(0)
  image = np.zeros((60, 60, 3), np.uint8)
  noise = rng.normal(0, 6, (20, 20, 1))
  image[20:40, 20:40] = np.clip(np.array([180, 140, 110]) + noise, 0, 255)
  skin = Skin.sample(image, np.array([20.0, 20, 40, 40]))
  np.testing.assert_allclose(skin.colour, [180, 140, 110], atol=4)
  assert 0.01 < skin.texture.std() < 0.1
  outside = Skin.sample(image, np.array([80.0, 80, 90, 90]))
  assert (outside.texture == 1).all()


def test_sprites_are_pasted_with_their_alpha(tmp_path):
  sprite = np.zeros((40, 20, 4), np.uint8)
  sprite[10:30, 5:15] = (0, 0, 255, 255)  # red, as OpenCV orders it
  cv2.imwrite(str(tmp_path / "cup.png"), sprite)
  images, masks = play(0, kinds=(f"sprites:{tmp_path}",))
  shown = int(np.argmax([mask.sum() for mask in masks]))
  red = (images[shown] == [255, 0, 0]).all(-1)
  assert red.mean() > 0.02
  assert masks[shown][red].all()
