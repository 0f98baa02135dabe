"""Frames that wait for what later ones show."""

import cv2
import numpy as np
import pytest

from data_prep.faces.later import with_later
from data_prep.faces.propagation import PropagationConfig, Propagator
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.recipe import Recipe
from diffmvr_jax.data.records import RecordSource, ShardWriter, shard_name
from diffmvr_jax.data.windows import SOURCES, read_frames
from tests.data_prep.faces.test_propagation import (
  covered_by,
  error,
  moving,
  seen_from,
  texture,
)

FREE = np.zeros((96, 96), np.uint8)


def waiting(items, count, size=1):
  """Items (image, mask), with the numbers of the pictures that each gets."""
  take, numbers = Propagator().picture, iter(range(len(items)))

  def taken(item, number):
    return None if item is None else take(*item, number)

  released = with_later(
    items,
    lambda item: taken(item, next(numbers)),
    lambda item: size,
    count,
  )
  return [[picture.number for picture in later] for _, later in released]


def still(count):
  image = seen_from(texture(3), 0)
  return [(image, FREE)] * count


def test_each_gets_those_that_follow_nearest_first():
  assert waiting(still(5), 2) == [[1, 2], [2, 3], [3, 4], [4], []]


def test_without_waiting_no_picture_is_taken():
  released = with_later([1, 2], pytest.fail, pytest.fail, 0)
  assert list(released) == [(1, []), (2, [])]


def test_none_comes_out_before_its_time():
  taken = []

  def items():
    for item in still(4):
      taken.append(item)
      yield item

  picture = Propagator().picture(*still(1)[0], 0)
  released = with_later(items(), lambda item: picture, lambda item: 1, 2)
  next(released)
  assert len(taken) == 3


def test_what_waits_is_bounded():
  assert waiting(still(4), 3, size=300 * 2**20) == [[1], [2], [3], []]


def test_what_is_mostly_covered_is_left_out():
  ((image, _),) = still(1)
  mostly = covered_by(image, left=0, top=0, side=80)
  little = covered_by(image, left=30)
  items = [*still(1), mostly, little, *still(1)]
  assert waiting(items, 3)[0] == [2, 3]


@pytest.mark.parametrize("side", [96, 64])
def test_another_scene_is_left_out(side):
  """Or frames of another size."""
  other = cv2.resize(texture(8)[:96, :96], (side, side))
  items = [*still(2), (other, FREE[:side, :side])]
  assert waiting(items, 2) == [[1], [], []]


def test_a_scene_ends_behind_frames_that_are_covered_too():
  image = seen_from(texture(8), 0)
  covered = (image, np.ones_like(FREE))
  items = [*still(1), covered, covered, (image, FREE)]
  assert waiting(items, 3) == [[], [], [], []]


def test_a_frame_without_a_picture_is_passed_over():
  assert waiting([*still(1), None, *still(1)], 2) == [[2], [2], []]


def test_what_was_covered_from_the_first_frame_is_seen_later():
  frames = list(moving())[::-1]  # the square is there, and leaves
  truth, image, mask = frames[0]
  alone, waits = Propagator(with_looks=True), Propagator(with_looks=True)
  assert not alone(image, mask).valid[mask > 0].any()
  later = [waits.picture(*frame[1:], i) for i, frame in enumerate(frames)][1:]
  result = waits(image, mask, later=later)
  assert result.valid.all()
  assert error(result, truth, mask) < 12
  assert {look.number for look in result.looks} <= set(range(1, len(frames)))
  errors = []
  for t, (truth, image, mask) in enumerate(frames[1:], 1):
    result = waits(image, mask, later=later[t:])
    if mask.any():
      errors.append(error(result, truth, mask))
  assert np.mean(errors) < 7


def test_the_occluder_does_not_shine_through_from_a_later_frame():
  """At the frame's size and at the flow's it is painted over."""
  image, mask = covered_by(seen_from(texture(4), 0), left=20)
  propagate = Propagator(PropagationConfig(flow_side=24))
  picture = propagate.picture(image, mask, 1)
  np.testing.assert_array_equal(picture.image[mask == 0], image[mask == 0])
  covered = picture.image[mask > 0].astype(int)
  assert (covered[:, 0] - covered[:, 1]).max() < 90  # it is 180
  paint = picture.small[picture.visible == 0].astype(int)
  assert (paint[:, 0] - paint[:, 1]).max() < 90


def test_of_later_frames_that_look_alike_one_is_taken():
  propagate = Propagator(with_looks=True)
  truth = seen_from(texture(0), 0)
  propagate(seen_from(texture(0), 6), FREE, 0)
  image, mask = covered_by(truth, 40)
  later = [propagate.picture(truth, FREE, number) for number in (2, 3, 4)]
  looks = propagate(image, mask, 1, later).looks
  assert [look.number for look in looks] == [0, 2, 0]


def test_records_of_recordings_are_better_than_causal_ones():
  paste = OcclusionConfig(kinds=("hand",), seconds=(0.6, 0.9))

  def prepared(lookahead):
    recipe = Recipe(
      size=64, paste=paste, aligned="sources", seed=3, lookahead=lookahead
    )
    return list(recipe.records(11))

  causal, waited = prepared(12), prepared(48)
  off = {"causal": [], "waited": []}
  for one, other in zip(causal, waited, strict=True):
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.mask, other.mask)
    covered = one.mask > 0
    for name, record in (("causal", one), ("waited", other)):
      apart = record.propagated[covered].astype(float) - record.target[covered]
      off[name].append(float(np.square(apart).sum()))
  assert sum(off["waited"]) < 0.6 * sum(off["causal"])
  assert all((r.source_index <= r.frame_index).all() for r in causal)
  assert any((r.source_index > r.frame_index).any() for r in waited)


def test_sources_are_read_as_they_were_looked_at(tmp_path):
  """As `restore` gives them to a network."""
  recipe = Recipe(
    size=64,
    paste=OcclusionConfig(kinds=("hand",), seconds=(0.6, 0.9)),
    seed=3,
    lookahead=48,
  )
  records = list(recipe.records(11))
  with ShardWriter(tmp_path / shard_name("train", 0, 1)) as writer:
    for record in records:
      writer.write(record)
  source = RecordSource(tmp_path, "train")
  read = read_frames(source, list(range(len(records))), SOURCES)
  compared = 0
  for i, record in enumerate(records):
    for j, index in enumerate(record.source_index):
      if index <= record.frame_index:
        continue
      known = record.source_known[j]
      agreed = read["source_known"][i, j, ..., 0] == known
      assert agreed.mean() > 0.99
      both = agreed & (known > 0)
      apart = read["sources"][i, j].astype(int) - record.source_images[j]
      assert np.abs(apart)[both].max() < 40  # JPEG
      compared += 1
  assert compared > 10
