"""Detectors are compared with labels, whose errors are named."""

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.dataset import score
from data_prep.dataset.annotate import annotate_video, write_picture
from data_prep.dataset.labels import FACE, OCCLUDER, read_labelled
from data_prep.dataset.score import score_detectors, table
from data_prep.detections import NOTHING, Detections
from data_prep.occlusion.paste import OcclusionConfig
from diffmvr_jax.errors import InputError
from tests.data_prep.clips import CentredRecipe, Scripted, drawn, write_video

SHAPE = (40, 80)


def write(folder, name, labels=None, mask=None, split="test"):
  """Writes a picture whose mean is its number, and what is in it."""
  image = folder / "images" / split / f"{name}.png"
  image.parent.mkdir(parents=True, exist_ok=True)
  cv2.imwrite(str(image), np.full((*SHAPE, 3), name, np.uint8))
  for kind, suffix, content in (
    ("labels", ".txt", labels),
    ("masks", ".png", mask),
  ):
    path = folder / kind / split / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
      path.write_text(content)
    elif content is not None:
      cv2.imwrite(str(path), content)
  return image


def found(*boxes, masks=None):
  if not boxes:
    return NOTHING
  return Detections(
    boxes=np.array(boxes, np.float32), scores=np.ones(len(boxes)), masks=masks
  )


@pytest.fixture
def say(monkeypatch):
  """Detectors that say what a dict has for the picture's number."""

  def opened(answers):
    return lambda *a, **k: Scripted(lambda image, i: answers[image[0, 0, 0]])

  def set_answers(face=None, occluder=None):
    monkeypatch.setattr(score, "open_face_detector", opened(face))
    monkeypatch.setattr(score, "open_occluder_detector", opened(occluder))

  return set_answers


def test_faces_are_compared_by_their_largest_boxes(tmp_path, say):
  box = "0 0.25 0.5 0.5 1\n"  # 0 to 40 of 80 pixels, and the whole height
  for name in (1, 2, 3):
    write(tmp_path, name, box + "0 0.9 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n")
  write(tmp_path, 4, "")
  write(tmp_path, 5, "")
  say(
    face={
      1: found([0, 0, 40, 40], [60, 0, 70, 10]),
      2: found([10, 0, 40, 40]),  # IoU 0.75
      3: found([30, 0, 70, 40]),  # 1/7: elsewhere
      4: found([0, 0, 9, 9]),
      5: found(),
    }
  )
  (scores,) = score_detectors(tmp_path, face="x", occluder=None).values()
  np.testing.assert_allclose(scores.overlaps, [1, 0.75, 1 / 7], atol=1e-6)
  assert scores.row() == ["5", "60.0%", "0.631", "0.875", "", "1", "1"]


def test_occluders_are_compared_as_they_are_labelled(tmp_path, say):
  triangle = "1 0 0 0.5 0 0 1\n"
  square = "1 0.125 0.25 0.25 0.5\n"  # 0 to 20 pixels both ways
  write(tmp_path, 1, triangle)
  write(tmp_path, 2, square)
  mask = np.zeros(SHAPE, np.uint8)
  mask[5:25, 10:50] = 255
  write(tmp_path, 3, mask=mask)
  write(tmp_path, 4, "0 0.5 0.5 0.2 0.2\n")
  drawn_triangle = np.zeros(SHAPE, np.uint8)
  cv2.fillPoly(drawn_triangle, [np.array([[0, 0], [40, 0], [0, 40]])], 1)
  cross = np.zeros(SHAPE, np.uint8)
  cross[:20, 8:12], cross[8:12, :20] = 1, 1
  half = (mask > 0).astype(np.uint8)
  half[15:] = 0
  say(
    occluder={
      1: found([0, 0, 40, 40], masks=drawn_triangle[None]),
      2: found([0, 0, 20, 20], masks=cross[None]),
      3: found([10, 5, 50, 15], masks=half[None]),
      4: found(),
    }
  )
  (scores,) = score_detectors(tmp_path, face=None, occluder="x").values()
  triangle_iou, box_iou, half_iou = scores.overlaps
  assert triangle_iou > 0.9 and box_iou == 1 and half_iou == 0.5
  assert scores.blank == 1 and scores.false == 0
  np.testing.assert_allclose(scores.pixels[1:], [1, 1 - 400 / 3200, 1])

  boxed = score_detectors(tmp_path, face=None, occluder="x", as_boxes=True)
  assert next(iter(boxed.values())).overlaps == [1, 1, 0.5]


def test_a_split_can_be_chosen(tmp_path, say):
  write(tmp_path, 1, "", split="train")
  write(tmp_path, 2, "")
  say(face={1: found(), 2: found()})
  for split, count in (("train", 1), (None, 2)):
    (scores,) = score_detectors(
      tmp_path, face="x", occluder=None, split=split
    ).values()
    assert scores.blank == count


def test_what_annotate_writes_is_read_back(tmp_path):
  images, _ = drawn(0)
  video = write_video(
    tmp_path / "clip.mkv", images, codec="ffv1", pixels="bgr0"
  )
  recipe = CentredRecipe(size=96, paste=OcclusionConfig(pause=(0.1, 0.2)))
  for outlines in (False, True):
    for picture in annotate_video(video, recipe, every=6, outlines=outlines):
      write_picture(picture, tmp_path / str(outlines), "train")
  (tmp_path / "True" / "data.yaml").write_text("")
  for outlines in (False, True):
    pictures = [
      read_labelled(path)
      for path in (tmp_path / str(outlines) / "images").rglob("*.jpg")
    ]
    assert len(pictures) > 4
    labels = [label for picture in pictures for label in picture.labels]
    assert {label.kind for label in labels} == {FACE, OCCLUDER}
    assert {label.is_box for label in labels} == {not outlines}


def test_the_command_prints_a_table(tmp_path, say, capsys):
  write(tmp_path, 1, "0 0.25 0.5 0.5 1\n1 0.125 0.25 0.25 0.5\n")
  (tmp_path / "data.yaml").write_text("")
  answers = {1: found([0, 0, 40, 40])}
  say(face=answers, occluder=answers)
  main(
    [
      *("score-detector", "--data", str(tmp_path / "data.yaml")),
      *("--face", "mediapipe", "--occluder", "yolo:x.pt"),
    ]
  )
  head, rule, face, occluder = capsys.readouterr().out.splitlines()
  assert head.startswith("|  | pictures | accuracy | mean IoU |")
  assert rule.count("---") == head.count("|") - 1
  assert face.startswith("| face, mediapipe | 1 | 100.0% | 1.000 |")
  assert occluder.startswith("| occluder, yolo:x.pt | 1 | 0.0% | 0.250 |")
  assert table({}).count("\n") == 1


@pytest.mark.parametrize(
  ("labels", "error"),
  [
    ("0 0.5 0.5 0.1\n", "line 1 has 3 numbers"),
    ("0 0.5 0.5 0.1 0.1\nface 1 1 1 1\n", "line 2 is not of numbers"),
    ("7 0.5 0.5 0.1 0.1\n", "class 7"),
    ("0 0.9 0.5 0.5 0.1\n", "reaches beyond the picture"),
    ("0 50 50 10 10\n", "reaches beyond the picture"),
    (None, "no such file; an empty one"),
  ],
)
def test_bad_labels_are_named(tmp_path, labels, error):
  path = write(tmp_path, 1, labels)
  with pytest.raises(InputError, match=rf"labels.test.1\.txt: .*{error}"):
    read_labelled(path)


def test_other_bad_input_is_named(tmp_path, say):
  say(face={}, occluder={})
  with pytest.raises(InputError, match="no pictures here"):
    score_detectors(tmp_path, face="x", occluder=None)
  path = write(tmp_path, 1, mask=np.zeros((4, 4), np.uint8))
  with pytest.raises(InputError, match="4×4 pixels, its picture 80×40"):
    read_labelled(path)
  write(tmp_path, 1, mask=np.zeros(SHAPE, np.uint8))
  with pytest.raises(InputError, match="shows no face"):
    score_detectors(tmp_path, face="x", occluder=None)
  with pytest.raises(InputError, match="name what is to be scored"):
    score_detectors(tmp_path, face=None, occluder=None)
  with pytest.raises(InputError, match="no detector"):
    score_detectors(tmp_path, face=None, occluder="masks:x")
  path.write_bytes(b"no picture")
  with pytest.raises(InputError, match="not a picture"):
    read_labelled(path)
