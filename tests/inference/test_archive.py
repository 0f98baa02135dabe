"""Several videos: what is restored, what is not again, and the manifest."""

import csv
import os

import av
import pytest

from tests.hostile import made
from tests.hostile.running import content, ended

NAMES = ["a.mkv", "people/b.mkv", "people/more/c.avi"]
RESULTS = ["a.mkv", "people/b.mkv", "people/more/c.avi.mkv"]


@pytest.fixture
def archive(tmp_path):
  """Three clips in folders, and their masks."""
  for name in NAMES:
    path = tmp_path / "videos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    made.clip(path, **({} if path.suffix == ".mkv" else {"codec": "ffv1"}))
    made.mask(_folder(tmp_path / "masks") / f"{path.stem}.png")
  return tmp_path


def _folder(path):
  path.mkdir(exist_ok=True)
  return path


def restore(folder, *options, source="videos", out="out"):
  return ended(
    made.restored,
    [
      *(folder / source, "--method", "propagation", "--region", "frame"),
      *("--occluder", f"masks:{folder / 'masks'}", "--out", folder / out),
      *options,
    ],
  )


def rows(folder):
  with open(folder / "out" / "manifest.csv", newline="") as file:
    return {row["source"]: row for row in csv.DictReader(file)}


def videos_in(folder):
  return {n for n, what in content(folder).items() if what != "folder"}


def test_every_video_gets_its_place_and_its_row(archive):
  how = restore(archive)
  assert how.code == 0 and not how.lines, how.lines
  assert "3 videos restored, 0 were finished before" in how.out
  assert videos_in(archive / "out") == {*RESULTS, "manifest.csv"}
  for name in RESULTS:
    with av.open(str(archive / "out" / name)) as video:
      assert sum(1 for _ in video.decode(video=0)) == made.FRAMES
  told = rows(archive)
  assert list(told) == NAMES
  for row in told.values():
    assert row["frames"] == row["restored"] == str(made.FRAMES)
    assert row["checkpoint"] == "propagation" and not row["error"]
    assert row["without_face"] == "" and float(row["seconds"]) >= 0


def test_a_result_is_that_of_its_video_alone(archive):
  restore(archive)
  restore(archive, source="videos/a.mkv", out="alone.mkv")
  alone = (archive / "alone.mkv").read_bytes()
  assert (archive / "out" / "a.mkv").read_bytes() == alone


def test_what_is_finished_is_not_restored_again(archive):
  restore(archive)
  before = content(archive)
  how = restore(archive)
  assert how.code == 0
  assert "0 videos restored, 3 were finished before" in how.out
  assert content(archive) == before


def test_what_has_changed_is_restored_again(archive):
  restore(archive)
  made.clip(archive / "videos" / "a.mkv", count=3)
  (archive / "out" / "people" / "b.mkv").unlink()
  how = restore(archive)
  assert "2 videos restored, 1 were finished before" in how.out
  assert rows(archive)["a.mkv"]["frames"] == "3"
  how = restore(archive, "--feather", "0.1")
  assert "3 videos restored, 0 were finished before" in how.out


def test_a_video_that_fails_costs_itself_alone(archive):
  (archive / "videos" / "bad.mp4").write_text("no video")
  os.mkfifo(archive / "videos" / "pipe.mp4")
  how = restore(archive)
  assert how.code == 1
  assert len(how.lines) == 3
  assert how.lines[0].startswith("failed: bad.mp4: not a video that FFmpeg")
  assert how.lines[1].startswith("failed: pipe.mp4: a pipe or device")
  assert how.lines[2].startswith("error: 2 of 5 videos failed")
  assert videos_in(archive / "out") == {*RESULTS, "manifest.csv"}
  assert rows(archive)["bad.mp4"]["error"].startswith("not a video")
  made.clip(archive / "videos" / "bad.mp4", codec="mpeg4", pixels="yuv420p")
  (archive / "videos" / "pipe.mp4").unlink()
  made.mask(archive / "masks" / "bad.png")
  how = restore(archive)
  assert how.code == 0 and "1 videos restored, 3 were finished" in how.out
  assert set(rows(archive)) == {*NAMES, "bad.mp4"}


def test_half_a_row_is_mended(archive):
  restore(archive)
  manifest = archive / "out" / "manifest.csv"
  before = manifest.read_bytes()
  manifest.write_bytes(before[:-9])
  how = restore(archive)
  assert "1 videos restored, 2 were finished before" in how.out
  assert list(rows(archive)) == NAMES


@pytest.mark.parametrize("absolute", [True, False])
def test_a_list(absolute, archive):
  videos = archive / "videos"
  lines = [str(videos / n) if absolute else n for n in reversed(NAMES[1:])]
  where = _folder(archive / "lists") if absolute else videos
  (where / "list.txt").write_text("\n".join(["", *lines, "\n"]))
  how = restore(archive, source=where / "list.txt")
  assert how.code == 0, how.lines
  results = ["b.mkv", "more/c.avi.mkv"] if absolute else RESULTS[1:]
  assert videos_in(archive / "out") == {*results, "manifest.csv"}


def test_the_results_may_lie_below_the_videos(archive):
  for _ in range(2):
    how = restore(archive, out="videos/restored")
    assert how.code == 0, how.lines
  assert "0 videos restored, 3 were finished before" in how.out


@pytest.mark.parametrize(
  ("options", "said"),
  [
    (["--out", "{folder}/out.mp4"], "several videos need a folder for --out"),
    (["--out", "-"], "several videos need a folder for --out"),
    (["--mask-out", "{folder}/m.mp4"], "previews are files of one video"),
    (["--fps", "25"], "--size and --fps are not for videos"),
    (["--out", "{folder}/masks"], "is not empty and has no manifest.csv"),
    (["--out", "{folder}/videos"], "would overwrite the source"),
    (["--out", "{folder}/videos/a.mkv/x"], "a part of this path is a file"),
  ],
)
def test_what_does_not_go_with_several_videos(options, said, archive):
  before = content(archive)
  how = restore(
    archive, *(o.replace("{folder}", str(archive)) for o in options)
  )
  assert how.code == 2
  (line,) = how.lines
  assert said in line
  assert content(archive) == before


@pytest.mark.parametrize(
  ("name", "text", "said"),
  [
    ("list.txt", "", "no video here"),
    ("list.txt", "../x.mkv", "leads out of its folder"),
    ("list.txt", "a.mkv\na.mkv", "two videos become"),
    ("../out/manifest.csv", "a,b\n", "other columns; name a new folder"),
    ("../out/manifest.csv", "", "other columns; name a new folder"),
    ("../out/x.mkv", "", "is not empty and has no manifest.csv"),
  ],
)
def test_lists_and_manifests_that_lie(name, text, said, archive):
  _folder(archive / "out")
  (archive / "videos" / name).write_text(text)
  before = content(archive)
  how = restore(archive, source=f"videos/{name if 'list' in name else ''}")
  assert how.code == 2
  (line,) = how.lines
  assert said in line
  assert content(archive) == before
