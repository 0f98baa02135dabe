"""YOLO end to end at a small size: annotate, train, detect, export."""

import numpy as np
import pytest
import yaml

from data_prep.__main__ import main
from data_prep.dataset import annotate
from data_prep.detections import bounding_box
from data_prep.detectors import yolo
from data_prep.detectors.yolo import YoloDetector, import_ultralytics
from data_prep.occlusion.paste import OcclusionConfig
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from tests.data_prep.clips import CentredRecipe, drawn, write_video


def words(command):
  """Splits a command at bars: paths may hold spaces."""
  return command.split("|")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
  folder = tmp_path_factory.mktemp("videos")
  for seed in range(3):
    images, _ = drawn(seed)
    write_video(
      folder / f"person {seed}.mkv", images, codec="ffv1", pixels="bgr0"
    )
  return folder


@pytest.fixture(scope="module")
def recipe():
  return CentredRecipe(size=128, paste=OcclusionConfig(pause=(0.1, 0.2)))


@pytest.mark.parametrize("outlines", [False, True])
def test_labels_lie_where_the_shapes_were_pasted(videos, recipe, outlines):
  path = videos / "person 0.mkv"
  pictures = list(
    annotate.annotate_video(path, recipe, every=2, outlines=outlines)
  )
  assert [p.name for p in pictures][:2] == [
    "person 0_000000",
    "person 0_000002",
  ]
  clean, _ = drawn(0)
  checked = 0
  for i, picture in enumerate(pictures):
    labels = [line.split() for line in picture.labels]
    assert labels[0][0] == "0"
    values = [np.array(line[1:], float) for line in labels]
    assert all((v >= 0).all() and (v <= 1).all() for v in values)
    boxes = [
      v for line, v in zip(labels, values, strict=True) if line[0] == "1"
    ]
    difference = np.abs(picture.image.astype(int) - clean[2 * i]).max(2) > 60
    if not boxes or not difference.any():
      continue
    changed = bounding_box(difference.astype(np.uint8)) / 160
    if outlines:
      points = np.concatenate([v.reshape(-1, 2) for v in boxes])
      low, high = points.min(0), points.max(0)
    else:
      low, high = (
        boxes[0][:2] - boxes[0][2:] / 2,
        boxes[0][:2] + boxes[0][2:] / 2,
      )
    # The label also covers the mask's margin.
    assert (low <= changed[:2] + 0.03).all()
    assert (high >= changed[2:] - 0.03).all()
    checked += 1
  assert checked > 3


def test_blotches_change_the_background_and_no_label(videos, recipe):
  plain, cluttered = (
    list(
      annotate.annotate_video(
        videos / "person 0.mkv", recipe, every=2, outlines=False, cluttered=c
      )
    )
    for c in (0.0, 1.0)
  )
  assert [p.labels for p in cluttered] == [p.labels for p in plain]
  for before, after in zip(plain, cluttered, strict=True):
    changed = (before.image != after.image).any(2)
    assert changed[:10].mean() > 0.9
    x, y, width, height = 160 * np.array(before.labels[0].split()[1:], float)
    left, right = round(x - width / 4), round(x + width / 4)
    top, bottom = round(y - height / 4), round(y + height / 4)
    assert not changed[top:bottom, left:right].any()


@pytest.mark.parametrize(
  ("settings", "error"),
  [("--cluttered|2", "at most 1"), ("--cluttered|1|--occlusion|real", "real")],
)
def test_blotches_need_hands_that_are_pasted(videos, settings, error, tmp_path):
  with pytest.raises(InputError, match=error):
    main(words(f"annotate|{videos}|--out|{tmp_path}|{settings}"))


@pytest.fixture(scope="module")
def data(videos, tmp_path_factory):
  folder = tmp_path_factory.mktemp("yolo")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      "data_prep.recipe_options.Recipe",
      lambda **kw: CentredRecipe(**kw | CENTRED),
    )
    main(
      words(
        f"annotate|{videos}|--out|{folder}|--every|3|--validation-share|0.3"
      )
    )
  return folder


CENTRED = {"face": "centred"}


def test_annotate_writes_what_ultralytics_reads(data):
  described = yaml.safe_load((data / "data.yaml").read_text())
  assert described["names"] == {0: "face", 1: "occluder"}
  for split, count in (("train", 24), ("validation", 12)):
    images = sorted((data / "images" / split).glob("*.jpg"))
    labels = sorted((data / "labels" / split).glob("*.txt"))
    assert len(images) == len(labels) == count


@pytest.fixture(scope="module")
def weights(data, tmp_path_factory):
  out = tmp_path_factory.mktemp("detector") / "run"
  main(
    words(
      f"train-detector|--data|{data / 'data.yaml'}|--out|{out}"
      "|--epochs|1|--image-size|64|--device|cpu"
    )
  )
  return out / "weights" / "best.pt"


def test_a_finished_training_is_left_alone(weights, data):
  before = weights.stat().st_mtime_ns
  again = yolo.train(
    data / "data.yaml",
    task="detect",
    model="yolov8n.yaml",
    out=weights.parents[1],
    epochs=1,
    image_size=64,
    batch=16,
    device="cpu",
    seed=0,
  )
  assert again == weights and weights.stat().st_mtime_ns == before


def test_weights_become_a_detector(weights):
  finder = YoloDetector(weights, role="occluder", confidence=1e-4)
  found = finder(drawn(0)[0][0], 0)
  assert found.boxes.shape == (len(found), 4) and len(found.scores) == len(
    found
  )
  assert ((found.scores >= 1e-4) & (found.scores <= 1)).all()
  with pytest.raises(InputError, match=r"no class 'hand'.*face, occluder"):
    YoloDetector(weights, "hand", role="occluder")


def test_export_with_yolo(weights, videos, tmp_path, capsys):
  """One epoch finds nothing yet, so the face is found with any score."""
  (tmp_path / "no models").mkdir()
  main(
    words(
      f"export|{videos}|--out|{tmp_path / 'out'}|--size|32|--occlusion|real"
      f"|--face|yolo:{weights}#face@1e-5|--occluder|yolo:{weights}@0.9"
      f"|--mask|box|--models|{tmp_path / 'no models'}"
    )
  )
  lines = capsys.readouterr().err.splitlines()
  (line,) = [line for line in lines if "symmetric" in line]
  assert line.startswith("symmetric guidance is off: ")
  assert "face_landmarker.task" in line
  source = RecordSource(tmp_path / "out", "train")
  record = source[0]
  assert record.landmarks.shape == (0, 2) and not record.symmetric_valid
  assert record.target is None


def test_segmentation_gives_masks(tmp_path):
  import_ultralytics().YOLO("yolov8n-seg.yaml").save(tmp_path / "seg.pt")
  finder = YoloDetector(tmp_path / "seg.pt", "0", role="face", confidence=0)
  image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
  found = finder(image, 0)
  assert len(found) and found.masks.shape == (len(found), 48, 80)
  assert set(np.unique(found.masks)) <= {0, 1}
