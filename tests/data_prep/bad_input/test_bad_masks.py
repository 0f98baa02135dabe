"""Masks of the user."""

import re
import shutil

import cv2
import numpy as np
import pytest

from diffmvr_jax.data.records import RecordSource
from tests.data_prep.bad_input.running import (
  IMAGES,
  exported,
  half_written,
  run,
)
from tests.data_prep.clips import write_video

LOSSLESS = {"codec": "ffv1", "pixels": "bgr0"}


def folder_of_masks(path, number, shape=(160, 160), name="{:03d}.png"):
  path.mkdir(parents=True)
  for i in range(number):
    cv2.imwrite(str(path / name.format(i)), np.full(shape, 255, np.uint8))


def one_short(folder):
  folder_of_masks(folder / "good", 9)


def one_too_many(folder):
  folder_of_masks(folder / "good", 11)


def short_video(folder):
  write_video(folder / "good.mp4", IMAGES[:9])


def wrong_size(folder):
  folder_of_masks(folder / "good", 10, shape=(160, 150))


def wrong_size_later(folder):
  folder_of_masks(folder / "good", 10)
  cv2.imwrite(str(folder / "good" / "006.png"), np.zeros((9, 9), np.uint8))


def single_of_wrong_size(folder):
  cv2.imwrite(str(folder / "good.png"), np.zeros((9, 9), np.uint8))


def other_rate(folder):
  write_video(folder / "good.mp4", IMAGES, fps=30)


def unreadable(folder):
  folder_of_masks(folder / "good", 10)
  (folder / "good" / "004.png").write_text("no picture")


def empty(folder):
  (folder / "good").mkdir()


def of_another_video(folder):
  folder_of_masks(folder / "other", 10)


def ambiguous(folder):
  folder_of_masks(folder / "good", 10)
  cv2.imwrite(str(folder / "good.png"), np.zeros((160, 160), np.uint8))


def cut_video(folder):
  path = write_video(folder / "good.mkv", IMAGES, **LOSSLESS)
  path.write_bytes(path.read_bytes()[:-9000])


def text_for_a_video(folder):
  (folder / "good.mp4").write_text("masks")


BAD_MASKS = [
  (one_short, "9 masks, but .* has 10 frames"),
  (one_too_many, "11 masks, but .* has 10 frames"),
  (short_video, "9 masks, but .* has 10 frames"),
  (wrong_size, "frame 0: the mask has 150×160 pixels, the video 160×160"),
  (wrong_size_later, "frame 6: the mask has 9×9 pixels"),
  (single_of_wrong_size, "frame 0: the mask has 9×9 pixels"),
  (other_rate, "30 frames/s, .* has 25; are these its masks"),
  (unreadable, "004.png: not a picture"),
  (empty, "0 masks, but"),
  (of_another_video, "no masks for good.mp4"),
  (ambiguous, "several masks for good.mp4: good, good.png"),
  (cut_video, "masks, but|after"),
  (text_for_a_video, "not a video"),
]


@pytest.mark.parametrize(
  ("make", "said"), BAD_MASKS, ids=lambda v: getattr(v, "__name__", "")
)
def test_bad_masks_cost_their_video_alone(make, said, videos, tmp_path, capsys):
  shutil.copy(videos / "good.mp4", videos / "fine.mp4")
  masks = tmp_path / "masks"
  folder_of_masks(masks / "fine", 10)
  make(masks)
  out = tmp_path / "out"
  options = ("--occlusion", "real", "--occluder", f"masks:{masks}")
  assert run(videos, out, *options) == 1
  (line,) = [
    line
    for line in capsys.readouterr().err.splitlines()
    if line.startswith("failed: ")
  ]
  assert "good" in line
  assert re.search(said, line), line
  assert exported(out) == {"fine"}
  assert not half_written(out)


@pytest.mark.parametrize("value", [0, 255])
def test_masks_of_nothing_and_of_everything_are_fine(value, videos, tmp_path):
  path = tmp_path / "mask.png"
  cv2.imwrite(str(path), np.full((160, 160), value, np.uint8))
  out = tmp_path / "out"
  options = ("--occlusion", "real", "--occluder", f"masks:{path}")
  assert run(videos, out, *options) == 0
  source = RecordSource(out, "train")
  masks = [source[i].mask for i in range(len(source))]
  assert all((mask == (value > 0)).all() for mask in masks)
