"""Commands whose folders lie in a bucket do what they do on a disk."""

import csv
import json
import shutil

import pytest

from data_prep.__main__ import main as data_prep
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluate import main as evaluate
from tests.buckets import content, put
from tests.hostile import made
from tests.hostile.running import ended

NAMES = ["a.mkv", "people/b.mkv"]


def on_disk(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


@pytest.fixture
def archive(bucket, tmp_path, request):
  """Two clips, and where they lie in the bucket; masks on the disk."""
  for name in NAMES:
    path = tmp_path / "videos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    made.clip(path)
    (tmp_path / "masks").mkdir(exist_ok=True)
    made.mask(tmp_path / "masks" / f"{path.stem}.png")
  there = f"{bucket}/{request.node.name}"
  put(tmp_path / "videos", f"{there}/videos")
  return tmp_path, there


def restore(archive, source, out, *options):
  return ended(
    made.restored,
    [
      *(source, "--method", "propagation", "--region", "frame"),
      *("--occluder", f"masks:{archive[0] / 'masks'}", "--out", out, *options),
    ],
  )


def rows(text):
  return {
    row["source"]: {k: v for k, v in row.items() if k != "seconds"}
    for row in csv.DictReader(text.decode().splitlines())
  }


def test_an_archive_is_restored_as_on_a_disk(archive):
  folder, there = archive
  assert restore(archive, folder / "videos", folder / "out").code == 0
  how = restore(archive, f"{there}/videos", f"{there}/out")
  assert how.code == 0 and not how.lines, how.lines
  assert how.out.startswith(f"{there}/out: 2 videos restored, 0 were")
  here, found = on_disk(folder / "out"), content(f"{there}/out")
  told, expected = rows(found.pop("manifest.csv")), here.pop("manifest.csv")
  assert found == here and set(found) == set(NAMES)
  for name, row in rows(expected).items():
    assert told[name] == row | {"modified": told[name]["modified"]}
  assert not list(folder.parent.glob("diffmvr-*"))


def test_only_what_has_changed_is_restored_again(archive):
  folder, there = archive
  restore(archive, f"{there}/videos", f"{there}/out")
  before = content(there)
  how = restore(archive, f"{there}/videos", f"{there}/out")
  assert "0 videos restored, 2 were finished before" in how.out
  assert content(there) == before
  # Its size stays.
  shutil.copyfile(made.clip(folder / "new.mkv"), folder / "videos" / "a.mkv")
  made.patched(folder / "videos" / "a.mkv", b"Lavf", b"lavf")
  put(folder / "videos", f"{there}/videos")
  how = restore(archive, f"{there}/videos", f"{there}/out")
  assert "1 videos restored, 1 were finished before" in how.out


def test_a_bad_video_is_named_by_its_name_in_the_bucket(archive):
  folder, there = archive
  (folder / "bad").mkdir()
  (folder / "bad" / "bad.mp4").write_text("no video")
  put(folder / "bad", f"{there}/videos")
  how = restore(archive, f"{there}/videos", f"{there}/out")
  assert how.code == 1
  assert how.lines[0].startswith("failed: bad.mp4: not a video that FFmpeg")
  assert set(content(f"{there}/out")) == {*NAMES, "manifest.csv"}


def test_a_list_names_videos_in_a_bucket(archive):
  folder, there = archive
  (folder / "list.txt").write_text(f"{there}/videos/a.mkv\n")
  how = restore(archive, folder / "list.txt", folder / "out")
  assert how.code == 0, how.lines
  assert set(on_disk(folder / "out")) == {"a.mkv", "manifest.csv"}
  (folder / "lists").mkdir()
  (folder / "lists" / "list.txt").write_text("people/b.mkv\n")
  put(folder / "lists", f"{there}/videos")
  how = restore(archive, f"{there}/videos/list.txt", f"{there}/out")
  assert how.code == 0, how.lines
  assert set(content(f"{there}/out")) == {"people/b.mkv", "manifest.csv"}


@pytest.mark.parametrize(
  ("source", "out", "said"),
  [
    ("{there}/videos", "{there}/videos", "would overwrite the source"),
    ("{there}/videos/a.mkv", "out", "is one file; name its folder"),
    ("{there}/none", "out", "no video here"),
    ("s3://nowhere/a", "out", "is there a bucket 'nowhere'"),
    ("{folder}/videos", "s3://nowhere/a", "is there a bucket 'nowhere'"),
    ("{there}/videos", "{there}/videos/people", "has no manifest.csv"),
    ("{folder}/videos/a.mkv", "{there}/a.mkv", "take the results of a folder"),
  ],
)
def test_what_does_not_fit_is_one_line(source, out, said, archive):
  names = {"folder": archive[0], "there": archive[1]}
  how = restore(archive, source.format(**names), out.format(**names))
  assert how.code == 2 and len(how.lines) == 1, how.lines
  assert said in how.lines[0]


def test_a_data_set_is_the_same(bucket, tmp_path, capsys):
  names = ["export", "procedural:0-2", "--size", "32"]
  there = f"{bucket}/data"
  data_prep([*names, "--out", str(tmp_path / "here")])
  # One part is there before; the others are added, and all is completed.
  data_prep([*names, "--out", there, "--shard", "0/3"])
  assert set(content(there)) == {
    "parts/settings.json",
    *(f"parts/procedural_00000.{s}" for s in ("json", "tfrecord")),
    "parts/procedural_00000.tfrecord.index.json",
  }
  data_prep([*names, "--out", there, "--workers", "2"])
  assert content(there) == on_disk(tmp_path / "here")
  capsys.readouterr()
  data_prep([*names, "--out", there])
  assert capsys.readouterr().out == f"{there}: already exported\n"

  # It is measured where it is.
  arguments = ["--split", "train", "--metrics", "psnr"]
  for data, out in (
    (str(tmp_path / "here"), str(tmp_path / "scores")),
    (there, f"{bucket}/scores"),
  ):
    evaluate(["--data", data, "--out", out, *arguments])
  found, here = content(f"{bucket}/scores"), on_disk(tmp_path / "scores")
  assert set(found) == set(here)
  scores, expected = (json.loads(x["metrics.json"]) for x in (found, here))
  assert scores["methods"] == expected["methods"]


def test_videos_in_a_bucket_become_the_same_records(bucket, tmp_path):
  (tmp_path / "videos").mkdir()
  for name in ("a", "b"):
    made.clip(tmp_path / "videos" / f"{name}.mkv")
  (tmp_path / "videos" / "bad.mkv").write_text("no video")
  put(tmp_path / "videos", f"{bucket}/prepared")
  found = {}
  for source in (str(tmp_path / "videos"), f"{bucket}/prepared"):
    out = tmp_path / f"out{len(found)}"
    how = ended(
      made.prepared,
      [
        *("export", source, "--out", out, "--size", "32"),
        *("--test-share", "0", "--paste", "box"),
      ],
    )
    assert how.code == 1
    assert f"skipped: {source}/bad.mkv: not a video" in "\n".join(how.lines)
    records = RecordSource(out, "train")
    found[source] = [
      (r.video_id, r.frame_index, r.image.tobytes(), r.source_sha256)
      for r in map(records.__getitem__, range(len(records)))
    ]
    assert records[0].source_path == f"{source}/a.mkv"
  first, second = found.values()
  assert first == second and len(first) == 2 * made.FRAMES


def test_videos_in_a_bucket_are_compared(bucket, tmp_path):
  for part, count in (("true", made.FRAMES), ("longer", made.FRAMES + 1)):
    for name in ("a", "b"):
      (tmp_path / part).mkdir(exist_ok=True)
      made.clip(tmp_path / part / f"{name}.mkv", count=count)
  put(tmp_path, f"{bucket}/compared")
  true, longer = (f"{bucket}/compared/{part}" for part in ("true", "longer"))
  arguments = ["--metrics", "psnr", "--out", f"{bucket}/scores2", "--target"]
  evaluate([*arguments, true, "--prediction", true])
  told = json.loads(content(f"{bucket}/scores2")["metrics.json"])
  assert told["conditions"]["target"] == true
  assert set(told["videos"]["prediction"]) == {"a", "b"}
  with pytest.raises(InputError) as caught:
    evaluate([*arguments, true, "--prediction", longer])
  assert str(caught.value) == (
    f"{longer}/a.mkv: has more frames than {true}/a.mkv ({made.FRAMES})"
  )
  with pytest.raises(InputError, match=f"{bucket}/none: no such file"):
    evaluate(["--target", f"{bucket}/none", "--prediction", f"{bucket}/true"])
