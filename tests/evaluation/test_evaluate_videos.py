"""Restored videos against true ones."""

import json
import shutil

import cv2
import numpy as np
import pytest

from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluate import main
from diffmvr_jax.evaluation.video_pairs import read_video
from diffmvr_jax.evaluation.videos import evaluate_videos
from tests.evaluation.write_video import write_video


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
      write_video(folder / kind / f"{name}.mkv", images)
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
  write_video(tmp_path / "a.mkv", np.zeros((70, 40, 40, 3), np.uint8))
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


def test_an_unknown_metric_is_refused():
  with pytest.raises(InputError, match="no metric 'fvid'; there are psnr"):
    main(["--prediction", "a", "--target", "b", "--metrics", "fvid"])
