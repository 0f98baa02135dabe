"""Evaluation from records, videos and folders to numbers and a page."""

import json
import os
import shutil
import socket
import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluate import evaluate_records, evaluate_videos, main
from diffmvr_jax.evaluation.summary import summarise, table
from diffmvr_jax.inference.baselines import BASELINES, telea, temporal_median
from diffmvr_jax.media.video import TimedFrame, VideoInfo
from diffmvr_jax.media.video_writer import VideoWriter
from diffmvr_jax.metrics.accumulators import Features, Tally
from diffmvr_jax.metrics.definitions import DEFINITIONS
from diffmvr_jax.metrics.frechet import Moments

WITHOUT_NETWORKS = {"psnr", "ssim", "tc", "tc_paper", "warp"}


@pytest.fixture(scope="module")
def clip(tiny_data):
  records = RecordSource(tiny_data, "test")
  video_id, positions = next(records.videos())
  return video_id, read_frames(records, list(positions))


@pytest.fixture(scope="module")
def evaluated(tiny_checkpoint, tiny_data, clip, tmp_path_factory):
  """With another model, and another method that is perfect."""
  folder = tmp_path_factory.mktemp("evaluated")
  video_id, arrays = clip
  perfect = folder / "perfect" / video_id
  perfect.mkdir(parents=True)
  for i, image in enumerate(arrays["target"]):
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(perfect / f"{i}.png"), bgr)
  summary = evaluate_records(
    tiny_checkpoint,
    tiny_data,
    "test",
    folder / "out",
    0,
    models=[("same again", tiny_checkpoint)],
    external=[("perfect", folder / "perfect")],
    weights=folder,
  )
  return folder / "out", summary


def test_it_writes_its_four_files(evaluated):
  out, summary = evaluated
  names = {"metrics.json", "sheet.png", "restored.mp4", "report.html"}
  assert {p.name for p in out.iterdir()} == names
  assert json.loads((out / "metrics.json").read_text()) == summary
  assert set(summary["methods"]) == {
    "DiffMVR",
    *BASELINES,
    "same again",
    "perfect",
  }


def test_every_number_says_what_it_is(evaluated, clip):
  _, summary = evaluated
  covered = int(clip[1]["mask"].any((1, 2, 3)).sum())
  for values in summary["methods"].values():
    assert values.keys() >= WITHOUT_NETWORKS
    assert values["psnr_mask"].keys() == {"value", "frames", "videos"}
    assert values["psnr_mask"]["frames"] == covered
    assert values["tc"]["frames"] == len(clip[1]["frame"]) - 1
  for name in WITHOUT_NETWORKS:
    assert summary["definitions"][name]["definition"] == DEFINITIONS[name].text
  assert set(summary["not_computed"]) == {
    "lpips",
    "fid",
    "fvd",
    "identity",
    "landmarks",
  }
  said = table(summary)
  assert "not computed: FVD; put https://" in said
  assert "| the truth itself | –" in said


def test_external_and_further_models_are_measured_alike(evaluated):
  _, summary = evaluated
  methods = summary["methods"]
  assert methods["same again"] == methods["DiffMVR"]
  assert methods["perfect"]["psnr_mask"]["value"] == 100
  assert methods["perfect"]["tc_mask"] == summary["truth"]["tc_mask"]
  assert methods["do nothing"]["psnr_mask"]["value"] < 30


def test_another_methods_output_needs_no_model(tiny_data, clip, tmp_path):
  """Videos against the truth of records."""
  (tmp_path / "other").mkdir()
  write(tmp_path / "other" / f"{clip[0]}.mkv", clip[1]["frame"])
  summary = evaluate_records(
    None,
    tiny_data,
    "test",
    tmp_path / "out",
    0,
    external=[("other", tmp_path / "other")],
    weights=tmp_path,
  )
  methods = summary["methods"]
  assert set(methods) == {"other", *BASELINES}
  assert methods["other"] == methods["do nothing"]
  assert "restored by other" in (tmp_path / "out" / "report.html").read_text()
  with pytest.raises(InputError, match="give --checkpoint, --model or"):
    evaluate_records(None, tiny_data, "test", tmp_path / "out", 0)


@pytest.mark.parametrize("names", [("Telea",), ("mine", "mine")])
def test_two_methods_of_one_name_are_refused(names, tiny_data, tmp_path):
  external = [(name, tmp_path / str(i)) for i, name in enumerate(names)]
  with pytest.raises(InputError, match="another method is called"):
    evaluate_records(
      None, tiny_data, "test", tmp_path / "out", 0, external=external
    )
  assert not (tmp_path / "out").exists()


def test_an_external_method_must_have_every_clip(
  tiny_checkpoint, tiny_data, clip, tmp_path
):
  def evaluate():
    evaluate_records(
      tiny_checkpoint,
      tiny_data,
      "test",
      tmp_path / "out",
      0,
      external=[("other", tmp_path / "other")],
      weights=tmp_path,
    )

  (tmp_path / "other").mkdir()
  with pytest.raises(InputError, match="no video, and no picture"):
    evaluate()
  write(tmp_path / "other" / f"{clip[0]}.mkv", clip[1]["target"][:4])
  with pytest.raises(InputError, match=r"\.mkv: \(4, 32, 32\) frames"):
    evaluate()


def write(path, frames):
  height, width = frames.shape[1:3]
  info = VideoInfo(
    width=width,
    height=height,
    fps=Fraction(25),
    time_base=Fraction(1, 25),
    has_audio=False,
  )
  with VideoWriter(path, info, lossless=True) as writer:
    for i, frame in enumerate(frames):
      writer.write(TimedFrame(np.ascontiguousarray(frame), i))


def test_a_distance_of_one_feature_is_not_told():
  one = Moments.of(np.ones((1, 4)))
  part = Features(restored=one, true=one, frames=16)
  summary = summarise(
    {"a": {"video": Tally(parts={"fvd": part})}},
    conditions={},
    wanted=["fvd"],
    weights={},
    missing={},
  )
  assert summary["methods"]["a"] == {}
  assert "fewer than two frames" in summary["not_computed"]["fvd"]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
  """Two films: restored, true and masks, in a folder each."""
  folder = tmp_path_factory.mktemp("films")
  rng = np.random.default_rng(0)
  for name, frames in (("a", 70), ("b", 5)):
    y, x = np.mgrid[:40, :48]
    target = np.stack(
      [128 + 80 * np.sin((x + t) / 6 + y / 9) for t in range(frames)]
    )
    target = np.repeat(target[..., None], 3, -1).astype(np.uint8)
    mask = np.zeros((frames, 40, 48, 3), np.uint8)
    mask[2:4, 10:30, 10:30] = 255
    noise = rng.normal(0, 20, target.shape) * (mask > 0)
    restored = np.clip(target + noise, 0, 255).astype(np.uint8)
    for kind, images in (
      ("restored", restored),
      ("true", target),
      ("masks", mask),
    ):
      (folder / kind).mkdir(exist_ok=True)
      write(folder / kind / f"{name}.mkv", images)
  return folder


def test_videos_are_compared(films):
  pair = films / "restored" / "a.mkv", films / "true" / "a.mkv"
  summary = evaluate_videos(*pair, films / "masks" / "a.mkv", weights=films)
  values = summary["methods"]["prediction"]
  assert values["psnr_mask"]["frames"] == 2
  assert 20 < values["psnr_mask"]["value"] < 25
  assert values["tc"]["frames"] == 69
  whole = evaluate_videos(*pair, None, weights=films)["methods"]["prediction"]
  assert whole["psnr"]["frames"] == 70
  assert whole["psnr"]["value"] == pytest.approx(
    whole["psnr_mask"]["value"], rel=1e-5
  )


def test_folders_of_videos_are_paired_by_name(films, tmp_path):
  summary = evaluate_videos(
    films / "restored", films / "true", films / "masks", weights=films
  )
  values = summary["methods"]["prediction"]
  assert values["psnr_mask"]["videos"] == 2
  assert values["psnr_mask"]["frames"] == 4
  assert set(summary["videos"]["prediction"]) == {"a", "b"}
  shutil.copytree(films / "restored", tmp_path / "restored")
  (tmp_path / "restored" / "b.mkv").unlink()
  with pytest.raises(InputError, match="b: no such video"):
    evaluate_videos(tmp_path / "restored", films / "true", None)


def test_a_folder_of_pictures_is_a_video(films, tmp_path):
  from diffmvr_jax.evaluation.video_pairs import read_video

  (tmp_path / "pictures").mkdir()
  for i, image in enumerate(read_video(films / "true" / "b.mkv")):
    cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), image[..., ::-1])
  summary = evaluate_videos(
    tmp_path / "pictures", films / "true" / "b.mkv", None, weights=films
  )
  assert summary["methods"]["prediction"]["psnr"]["value"] == 100


@pytest.mark.parametrize(
  ("restored", "true", "message"),
  [
    ("b", "a", r"restored/b\.mkv: ends after 5 frames, .*a\.mkv goes on"),
    ("a", "b", r"restored/a\.mkv: has more frames than .*b\.mkv \(5\)"),
    ("missing", "a", r"missing\.mkv: no such file"),
  ],
)
def test_what_does_not_fit_is_named(films, restored, true, message):
  with pytest.raises(InputError, match=message):
    evaluate_videos(
      films / "restored" / f"{restored}.mkv",
      films / "true" / f"{true}.mkv",
      None,
    )


def test_another_size_is_named(films, tmp_path):
  write(tmp_path / "a.mkv", np.zeros((70, 40, 40, 3), np.uint8))
  with pytest.raises(InputError, match=r"a\.mkv: is 40x40, .* is 48x40"):
    evaluate_videos(tmp_path / "a.mkv", films / "true" / "a.mkv", None)


def test_the_command_prints_one_table(films, tmp_path, capsys):
  files = [str(films / kind / "a.mkv") for kind in ("restored", "true")]
  main(
    [
      *("--prediction", files[0], "--target", files[1]),
      *("--metrics", "psnr,tc", "--out", str(tmp_path)),
    ]
  )
  printed = capsys.readouterr().out
  assert "| PSNR in mask, dB ↑ | TC in mask ↓ | PSNR, dB ↑ | TC ↓ |" in printed
  assert "not computed" not in printed
  assert json.loads((tmp_path / "metrics.json").read_text())["methods"]


def test_an_unknown_metric_is_refused(capsys):
  with pytest.raises(SystemExit):
    main(["--prediction", "a", "--target", "b", "--metrics", "fvid"])
  assert "no metric 'fvid'; there are psnr" in capsys.readouterr().err


def test_the_median_looks_where_the_pixel_is_seen(clip):
  _, arrays = clip
  still = np.repeat(arrays["target"][:1], 8, axis=0)
  masks = np.zeros((8, 32, 32, 1), np.uint8)
  masks[3:5, 8:20, 8:20] = 1
  frames = np.where(masks > 0, 255 - still, still)
  made = temporal_median(arrays | {"frame": frames, "mask": masks})
  # The feathered edge blends with what was there.
  inside = slice(11, 17)
  np.testing.assert_array_equal(
    made[:, inside, inside], still[:, inside, inside]
  )
  everywhere = np.ones_like(masks)
  always = arrays | {"frame": frames, "mask": everywhere}
  np.testing.assert_array_equal(temporal_median(always), telea(always))


def test_two_processes_measure_what_one_does(
  tiny_checkpoint, tiny_data, tmp_path
):
  arguments = [
    *("--checkpoint", str(tiny_checkpoint), "--data", str(tiny_data)),
    *("--split", "train", "--metrics", "psnr,tc"),
  ]
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  command = [sys.executable, "-m", "diffmvr_jax.evaluate", *arguments]
  processes = [
    subprocess.Popen(
      [*command, "--out", str(tmp_path / "two")],
      env=os.environ
      | {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(i),
      },
      stderr=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  main([*arguments, "--out", str(tmp_path / "one")])
  for process in processes:
    _, said = process.communicate()
    assert process.returncode == 0, said[-3000:]
  one, two = (
    json.loads((tmp_path / name / "metrics.json").read_text())["methods"]
    for name in ("one", "two")
  )
  assert one.keys() == two.keys()
  for method, values in one.items():
    assert values["psnr_mask"]["videos"] == 4
    for name, value in values.items():
      assert two[method][name] == pytest.approx(value)
