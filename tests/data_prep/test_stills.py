"""Still images, frame rates, boxes and names of subjects, as in the paper."""

import json
from fractions import Fraction

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.dataset.finish import Splitting
from data_prep.detections import Detections, boxes_around
from data_prep.detectors.given_masks import GivenMasks
from data_prep.occlusion.paste import OcclusionConfig
from data_prep.prepare import RealOcclusion, SyntheticOcclusion, prepare
from data_prep.recipe import Recipe
from data_prep.sources import at_rate, expand
from data_prep.stills import OnceDetector, StillSource, still_clip
from diffmvr_jax.data.records import RecordSource, ShardWriter, shard_name
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluate import main as evaluate
from tests.data_prep.clips import clip_of, drawn, write_video


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
  """Two people's pictures, and the landmarks of each."""
  folder = tmp_path_factory.mktemp("stills")
  landmarks = {}
  for name, seed in (("anna", 1), ("bert", 2)):
    images, points = drawn(seed)
    cv2.imwrite(str(folder / f"{name}.png"), images[0][..., ::-1])
    landmarks[name] = points[0]
  return folder, landmarks


class Known:
  overlooks = True

  def __init__(self, points):
    self.points, self.calls = points, 0

  def __call__(self, image, index):
    self.calls += 1
    points = self.points[None]
    return Detections(
      boxes=np.concatenate([points.min(1), points.max(1)], 1),
      scores=np.ones(1, np.float32),
      landmarks=points,
    )

  def close(self):
    pass


def records_of(stills, *, seconds=Fraction(0), as_boxes=False, fps=None):
  folder, landmarks = stills
  detector = Known(landmarks["anna"])
  clip = still_clip(StillSource(folder / "anna.png"), fps, seconds)
  pasted = SyntheticOcclusion(
    config=OcclusionConfig(), seed=4, as_boxes=as_boxes
  )
  find = OnceDetector(detector)
  found = list(
    prepare(clip, size=64, find_face=find, occlusion=pasted, aligned="none")
  )
  assert detector.calls == 1
  return found


def test_a_folder_of_stills_is_a_subject_each(stills):
  folder, _ = stills
  found = expand([f"stills:{folder}"])
  assert [source.video_id for source in found] == ["anna", "bert"]
  with pytest.raises(InputError, match="give stills:"):
    expand([str(folder)])


def test_a_still_is_covered(stills):
  (record,) = records_of(stills)
  assert record.mask.mean() > 0.03
  assert (record.image != record.target)[record.mask > 0].any()


def test_an_expanded_still_stands_still(stills):
  records = records_of(stills, seconds=Fraction(1, 2), fps=Fraction(50))
  assert len(records) == 25
  assert records[1].time == Fraction(1, 50)
  for record in records[1:]:
    np.testing.assert_array_equal(record.image, records[0].image)
    np.testing.assert_array_equal(record.mask, records[0].mask)


def test_boxes_hold_for_what_is_pasted(stills):
  (outline,) = records_of(stills)
  (box,) = records_of(stills, as_boxes=True)
  np.testing.assert_array_equal(box.mask, boxes_around(outline.mask))
  assert box.mask.sum() > outline.mask.sum()
  apart = (box.image != box.target).any(-1)
  assert not (apart & (box.mask == 0)).any()


def test_frames_are_taken_at_even_times():
  images = [np.full((2, 2, 3), i, np.uint8) for i in range(4)]

  def taken(fps, own):
    clip = at_rate(clip_of(images, fps=Fraction(own)), Fraction(fps))
    frames = list(clip.frames())
    assert [f.index for f in frames] == list(range(len(frames)))
    assert all(f.time == Fraction(f.index, fps) for f in frames)
    return [int(f.image[0, 0, 0]) for f in frames]

  assert taken(50, 25) == [0, 0, 1, 1, 2, 2, 3, 3]
  assert taken(25, 25) == [0, 1, 2, 3]
  assert taken(10, 20) == [0, 2]
  assert taken(30, 20) == [0, 0, 1, 2, 2, 3]


def test_subjects_are_read_from_names():
  names = [f"S{n:03}_{state}_20s" for n in range(10) for state in ("Rest", "x")]
  splitting = Splitting(
    validation_share=0.1, test_share=0.2, subject_pattern="^S[0-9]+"
  )
  split_of = splitting.of(names)
  counts = [list(split_of.values()).count(s) for s in ("train", "validation")]
  assert counts == [14, 2]
  for name in names:
    assert split_of[name] == split_of[name[:5] + "Rest_20s"]
  with pytest.raises(InputError, match="is in no name, such as S000"):
    Splitting(subject_pattern="^B").of(names)
  with pytest.raises(InputError, match="not a regular expression"):
    Splitting(subject_pattern="(").check()


def test_masks_of_the_videos_own_frames_have_no_other_rate(tmp_path, stills):
  video = write_video(tmp_path / "v.mp4", drawn(1)[0][:4])
  recipe = Recipe(size=32, occluder=f"masks:{tmp_path}", fps=50.0)
  with (
    pytest.raises(InputError, match="--fps does not go with masks:"),
    recipe.open_video(video),
  ):
    pass


def test_really_covered_records_are_scored_against_themselves(tmp_path, stills):
  """A method that does nothing is perfect, as in the paper."""
  folder, landmarks = stills
  clip = still_clip(StillSource(folder / "anna.png"), None, Fraction(1, 5))
  mask = np.zeros(next(clip.frames()).image.shape[:2], np.uint8)
  x, y = landmarks["anna"].mean(0).astype(int)
  mask[y - 20 : y + 20, x - 20 : x + 20] = 1
  occlusion = RealOcclusion(detector=GivenMasks([mask] * 5))
  data = tmp_path / "records"
  data.mkdir()
  with ShardWriter(data / shard_name("test", 0, 1)) as writer:
    for record in prepare(
      clip,
      size=64,
      find_face=OnceDetector(Known(landmarks["anna"])),
      occlusion=occlusion,
      aligned="none",
    ):
      writer.write(record)
  records = RecordSource(data, "test")
  assert "target" not in read_frames(records, [0])
  arguments = ["--data", str(data), "--out", str(tmp_path / "out")]
  with pytest.raises(InputError, match="--against-original compares"):
    evaluate(arguments)
  evaluate([*arguments, "--against-original", "--metrics", "psnr,ssim_paper"])
  summary = json.loads((tmp_path / "out" / "metrics.json").read_text())
  assert "the covered frame itself" in summary["conditions"]["truth"]
  nothing = summary["methods"]["do nothing"]
  assert nothing["psnr"]["value"] == 100
  assert nothing["ssim_paper"]["value"] == pytest.approx(1)
  assert summary["methods"]["Telea"]["psnr"]["value"] < 60


def test_the_command_exports_stills(tmp_path, assets):
  picture = sorted((assets / "portraits").glob("generated_*"))[0]
  main(
    [
      *("export", f"stills:{picture}", "--out", str(tmp_path / "out")),
      *("--size", "32", "--expand-stills", "0.1s", "--fps", "50"),
      *("--mask", "box", "--test-share", "0"),
      *("--models", str(assets / "models")),
    ]
  )
  records = RecordSource(tmp_path / "out", "train")
  clip = read_frames(records, list(range(len(records))))
  assert len(clip["frame"]) == 5
  assert clip["mask"].any()
  assert (clip["frame"] == clip["frame"][:1]).all()
