"""Who is followed when faces come, go, cross, and are covered."""

import numpy as np
import pytest

from data_prep.detections import NOTHING, Detections, overlap
from data_prep.faces.finder import FaceFinder
from data_prep.faces.track import LOOKAHEAD, track
from data_prep.prepare import RealOcclusion, SkippedFrame, prepare
from data_prep.recipe import Recipe
from tests.data_prep.clips import (
  Scripted,
  clip_of,
  detection_of,
  drawn,
  listed,
  masked,
)

WIDTH, HEIGHT = 600, 300


class ScriptedRecipe(Recipe):
  """A recipe whose detector of faces is given."""

  def __init__(self, find_face, **settings):
    super().__init__(**settings)
    object.__setattr__(self, "find_face", find_face)

  def face_detector(self):
    return self.find_face


SIDE = 60  # of a face, unless it is said
MARKS = np.random.default_rng(0).uniform(100, 180, (21, 2)).astype(np.float32)


class Stage:
  """Frames with squares for faces, each of its own colour.

  Attributes:
    places: by name, the middle and the side of each face in each frame; None
      where it is away. The last one hides those before it.
  """

  def __init__(self, **places):
    self.places = places
    colours = [(200, 90, 60), (60, 120, 210), (90, 200, 90)]
    self.colours = dict(zip(places, colours, strict=False))

  def box(self, name, index):
    place = self.places[name][index]
    if place is None:
      return None
    x, y, side = (*place, SIDE) if len(place) == 2 else place
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])

  def image(self, index):
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for name in self.places:
      box = self.box(name, index)
      if box is not None:
        left, top, right, bottom = box.round().astype(int).clip(0)
        image[top:bottom, left:right] = self.colours[name]
    return image

  def found(self, index):
    """Of two faces that overlap much, a detector finds the front one."""
    boxes = []
    for name in reversed(self.places):
      box = self.box(name, index)
      if box is not None and all(overlap(box, b) < 0.2 for b in boxes):
        boxes.append(box)
    if not boxes:
      return NOTHING
    return Detections(
      boxes=np.array(boxes, np.float32), scores=np.ones(len(boxes))
    )

  def followed(self, which="largest", frames=None, *, rests=False):
    """The name of the face that is chosen in each frame; "" if none is."""
    detector = Scripted(lambda image, index: self.found(index))
    finder = FaceFinder(detector, which, rests=rests)
    names = []
    for index in range(frames or len(next(iter(self.places.values())))):
      face = finder(self.image(index), index)
      names.append(
        ""
        if face is None
        else next(
          (
            name
            for name in reversed(self.places)
            if self.box(name, index) is not None
            and overlap(face.box, self.box(name, index)) > 0.7
          ),
          "none of them",
        )
      )
    return names


def walk(start, end, frames, height=150, side=SIDE):
  return [(x, height, side) for x in np.linspace(start, end, frames)]


def test_the_same_face_is_followed_even_when_another_gets_larger():
  stage = Stage(
    first=[(100, 150, 60)] * 30,
    other=[(400, 150, 40 + 3 * i) for i in range(30)],
  )
  assert stage.followed() == ["first"] * 30


@pytest.mark.parametrize("front", ["left", "right"])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("frames", [30, 80])
def test_faces_that_cross_are_told_apart_afterwards(front, which, frames):
  paths = {"left": walk(100, 500, frames), "right": walk(500, 100, frames)}
  behind = "right" if front == "left" else "left"
  stage = Stage(**{behind: paths[behind], front: paths[front]})
  names = stage.followed(which)
  wanted = ["left", "right"][which]
  apart = [
    abs(a[0] - b[0]) > 0.8 * SIDE
    for a, b in zip(paths["left"], paths["right"], strict=True)
  ]
  assert 0 < apart.index(False) < frames - 1
  for name, is_apart in zip(names, apart, strict=True):
    assert name == wanted or not is_apart
  assert "" not in names  # while they cross, the front one stands for both


def test_a_face_that_passes_in_front_is_not_taken_for_it():
  stage = Stage(sitting=[(300, 150)] * 60, passing=walk(50, 550, 60, side=70))
  names = stage.followed(1)  # at first the second from the left
  assert names[:25] == ["sitting"] * 25 and names[35:] == ["sitting"] * 25


def test_a_face_that_leaves_and_comes_back_is_found_again():
  away = [None] * 40
  for which in ("largest", 0):
    stage = Stage(person=walk(300, 570, 20) + away + walk(30, 300, 20))
    names = stage.followed(which)
    assert names == ["person"] * 20 + [""] * 40 + ["person"] * 20


def test_another_face_is_not_taken_for_one_that_is_lost_for_a_moment():
  gone = [None] * (LOOKAHEAD - 2)
  stage = Stage(
    person=[(150, 150)] * 10 + gone + [(150, 150)] * 10,
    other=[(400, 150, 50)] * (20 + len(gone)),
  )
  for which in ("largest", 0):
    names = stage.followed(which)
    assert names == ["person"] * 10 + [""] * len(gone) + ["person"] * 10


def test_in_a_new_scene_a_face_is_chosen_at_once():
  away, here = [None] * 10, [(150, 150)] * 10
  stage = Stage(before=here + away, after=away + [(450, 150)] * 10)
  lit = stage.image
  stage.image = lambda index: lit(index) if index < 10 else lit(index) // 3
  assert stage.followed() == ["before"] * 10 + ["after"] * 10


def test_a_picture_on_the_wall_stands_in_only_while_the_person_is_away():
  away = [None] * 40
  person = [(400, 180, 90)] * 10 + away + [(400, 180, 90)] * 10
  stage = Stage(picture=[(100, 80, 40)] * 60, person=person)
  names = stage.followed("largest")
  assert names[:10] == ["person"] * 10 and names[50:] == ["person"] * 10
  assert set(names[10 : 10 + LOOKAHEAD]) == {""}
  assert set(names[10 + LOOKAHEAD : 50]) == {"picture"}
  assert stage.followed(0) == ["picture"] * 60
  assert stage.followed(1) == ["person"] * 10 + [""] * 40 + ["person"] * 10


def test_what_is_much_smaller_is_not_taken_for_the_face_that_is_followed():
  # As MediaPipe says of a fist before a face, which it loses meanwhile.
  stage = Stage(
    person=[(200, 150, 90)] * 10 + [None] * 5 + [(200, 150, 90)] * 10,
    fist=[None] * 10 + [(205, 150, 50)] * 5 + [None] * 10,
  )
  names = stage.followed()
  assert names == ["person"] * 10 + [""] * 5 + ["person"] * 10


def test_a_face_is_looked_for_in_every_other_frame_of_a_live_stream():
  detector = Scripted(
    lambda image, index: detection_of(MARKS + np.float32([3 * index, index]))
  )
  finder = FaceFinder(detector, rests=True)
  blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
  faces = [finder(blank, index) for index in range(40)]
  assert detector.asked == list(range(0, 40, 2))
  # In between it is where its motion has taken it.
  for index in range(20, 40):
    face = faces[index]
    assert face is not None and face.landmarks is not None
    truth = MARKS + np.float32([3 * index, index])
    np.testing.assert_allclose(face.landmarks, truth, atol=0.1)
    np.testing.assert_allclose(face.box, detection_of(truth).boxes[0], atol=0.1)


def test_a_live_face_that_is_lost_is_looked_for_in_every_frame():
  stage = Stage(person=[(150, 150)] * 6 + [None] * 30 + [(150, 150)] * 4)
  assert stage.followed(rests=True) == (
    ["person"] * 6 + [""] * 30 + ["person"] * 4
  )


def test_faces_that_are_near_each_other_are_looked_for_in_every_frame():
  paths = {"left": walk(100, 500, 60), "right": walk(500, 100, 60)}
  names = Stage(**paths).followed(0, rests=True)
  assert names[:20] + names[40:] == ["left"] * 40


def test_a_face_that_comes_nearer_stays_the_same_face():
  sides = np.geomspace(40, 160, 40)  # seven per cent larger every other frame
  stage = Stage(person=[(300, 150, side) for side in sides])
  assert stage.followed() == ["person"] * 40


def test_a_mirror_image_is_another_face():
  frames = 60
  # The person goes up to a mirror at 300 and away again; the image is smaller.
  path = np.concatenate([np.linspace(100, 240, 30), np.linspace(240, 100, 30)])
  person = [(x, 150, 60) for x in path]
  image = [(600 - x, 150, 50) for x in path]
  stage = Stage(person=person, image=image)
  stage.colours["image"] = stage.colours["person"]
  assert stage.followed("largest") == ["person"] * frames
  assert stage.followed(0) == ["person"] * frames
  assert stage.followed(1) == ["image"] * frames


def prepared(images, landmarks, masks, **options):
  return list(
    prepare(
      clip_of(images),
      size=48,
      find_face=Scripted(lambda image, i: detection_of(landmarks[i])),
      occlusion=RealOcclusion(detector=masked(masks)),
      **options,
    )
  )


def test_a_face_that_is_covered_from_the_first_frame_to_the_last():
  """It has no past frame, and nothing under the hand was ever seen."""
  images, landmarks = drawn(0)
  count, (height, width) = 10, images[0].shape[:2]
  mask = np.zeros((height, width), np.uint8)
  nose = landmarks[0][18].astype(int)
  mask[nose[1] - 15 : nose[1] + 15, nose[0] - 15 : nose[0] + 15] = 1
  records = prepared(images[:count], landmarks[:1] * count, [mask] * count)
  assert len(records) == count
  for record in records:
    assert record.mask.any()
    assert record.past_index == -1
    hidden = record.mask > 0
    middle = np.zeros_like(hidden)
    rows, columns = np.nonzero(hidden)
    middle[int(rows.mean()), int(columns.mean())] = True
    assert record.propagated_confidence[middle] == 0
  whole = np.ones((height, width), np.uint8)
  records = prepared(images[:3], landmarks[:1] * 3, [whole] * 3)
  assert [r.symmetric_valid for r in records] == [False] * 3


def test_what_covers_the_face_can_be_told_from_its_crop():
  """Whoever has a network gets each crop, and the last one that was free."""
  images, landmarks = drawn(0)
  covered, beside = {3, 4, 7}, {6}
  seen = []

  def occluder(crop, free):
    seen.append((crop, free))
    probability = np.zeros(crop.shape[:2], np.float32)
    probability[20:40, 10:20] = 0.9 if len(seen) - 1 in covered else 0.4
    probability[:5, :5] = 0.9 if len(seen) - 1 in beside else 0.0
    return probability

  recipe = ScriptedRecipe(
    listed(landmarks), size=48, aligned="none", occluder=None
  )
  records = [
    record
    for _, record in recipe.frames_and_records(
      clip_of(images[:10]), crop_occluder=occluder
    )
  ]
  for i, record in enumerate(records):
    assert record.mask.any() == (i in covered)
    assert record.target is None
    crop, free = seen[i]
    np.testing.assert_array_equal(crop, record.image)
    if i == 0:
      assert free is None
    else:
      latest = max(k for k in range(i) if k not in covered | beside)
      assert record.past_index == latest
      np.testing.assert_array_equal(free, records[latest].image)


def test_a_detector_adds_to_what_is_told_from_the_crop():
  """What either of them finds is masked, and no such crop counts as free."""
  images, landmarks = drawn(0)
  hand = np.zeros(images[0].shape[:2], np.uint8)
  x, y = landmarks[0].mean(0).astype(int)
  hand[y : y + 30, x : x + 30] = 1
  told, found = {2, 4}, {4, 5}
  detector = masked([hand if i in found else None for i in range(8)])
  frees = []

  class Both(ScriptedRecipe):
    def occluder_detector(self, video, pace):
      return detector

  def occluder(crop, free):
    probability = np.zeros(crop.shape[:2], np.float32)
    probability[20:40, 10:20] = 0.9 if len(frees) in told else 0.0
    frees.append(free)
    return probability

  recipe = Both(listed(landmarks), size=48, aligned="none", lookahead=0)
  records = [
    record
    for _, record in recipe.frames_and_records(
      clip_of(images[:8]), crop_occluder=occluder
    )
  ]
  for i, record in enumerate(records):
    box = np.s_[20:40, 10:20]
    assert record.mask[box].all() == (i in told)
    record.mask[box] = 0
    assert record.mask.any() == (i in found)
  np.testing.assert_array_equal(frees[7], records[6].image)
  np.testing.assert_array_equal(frees[6], records[3].image)


def test_frames_in_which_the_face_is_away_are_skipped_and_the_rest_is_kept():
  images, landmarks = drawn(0)
  away = 3 * LOOKAHEAD
  where = [landmarks[0]] * 5 + [None] * away + [landmarks[0]] * 5
  masks = [None] * len(where)
  records = prepared([images[0]] * len(where), where, masks, aligned="none")
  skipped = [isinstance(record, SkippedFrame) for record in records]
  assert skipped == [
    5 + LOOKAHEAD <= i < 5 + away - LOOKAHEAD for i in range(len(where))
  ]
  assert records[-1].past_index >= 0


def test_a_head_that_is_upside_down_does_not_make_the_crop_spin():
  from tests.data_prep.faces.test_geometry import frontal_face

  angles = np.pi + 0.1 * np.sin(np.arange(40))  # rolls of 180°, more and less
  finder = FaceFinder(
    Scripted(lambda image, i: detection_of(frontal_face(angles[i], (300, 150))))
  )
  image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
  faces = ((i, finder(image, i)) for i in range(40))
  for i, tracked in track(faces, 96):
    right, left = tracked.landmarks[0], tracked.landmarks[8]
    assert left[0] - right[0] > 5 * abs(left[1] - right[1]), i
