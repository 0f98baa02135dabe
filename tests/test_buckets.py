"""Files in a bucket: copied, uploaded whole, and errors in one line."""

import os
import pickle
import sys

import pytest
import s3fs

from diffmvr_jax import buckets
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.archive_videos import find_jobs
from tests.buckets import BUCKET, content, put

pytestmark = pytest.mark.usefixtures("bucket")


@pytest.fixture
def there(tmp_path, request):
  """A folder in the bucket that holds two files."""
  url = f"{BUCKET}/{request.node.name}"
  (tmp_path / "made" / "b").mkdir(parents=True)
  (tmp_path / "made" / "a.txt").write_text("first")
  (tmp_path / "made" / "b" / "c.txt").write_text("second")
  put(tmp_path / "made", url)
  return buckets.place(url)


def test_names():
  for name in ("gs://b/c d.mp4", "s3://b/c/d"):
    path = buckets.place(name)
    assert buckets.in_bucket(path) and str(path) == name
    assert pickle.loads(pickle.dumps(path)) == path
  for name in ("clip.mp4", "/s3/b", "rtsp://camera", "s3:/b"):
    assert not buckets.in_bucket(buckets.place(name))


def test_files_and_their_versions(there):
  found = buckets.files_below(there)
  assert list(found) == [there / "a.txt", there / "b" / "c.txt"]
  assert [known.bytes for known in found.values()] == [5, 6]
  assert buckets.version(there / "a.txt") == found[there / "a.txt"]
  assert buckets.version(there / "none") is None
  assert buckets.is_file(there / "a.txt") and not buckets.is_file(there / "b")
  with buckets.uploaded(there / "a.txt") as path:
    path.write_text("other")  # as long as before
  assert buckets.version(there / "a.txt") != found[there / "a.txt"]
  assert not buckets.files_below(there / "none")


def test_a_copy_is_removed(there):
  with buckets.copied(there) as folder:
    assert (folder / "b" / "c.txt").read_text() == "second"
  assert not folder.parent.exists()
  with (
    pytest.raises(InputError, match=rf"^{there}/a.txt: is bad$"),
    buckets.copied(there / "a.txt") as file,
  ):
    assert file.read_text() == "first" and file.name == "a.txt"
    assert file.parent.stat().st_mode & 0o077 == 0
    raise InputError(f"{file}: is bad")
  assert not file.parent.exists()


def test_a_file_appears_whole_or_not_at_all(there):
  with pytest.raises(KeyError), buckets.uploaded(there / "new") as path:
    path.write_text("half")
    raise KeyError
  assert not buckets.is_file(there / "new")
  with buckets.uploaded(there / "more", last="a") as folder:
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "y").write_text("1")
    (folder / "a").write_text("2")
  assert content(f"{there}/more") == {"x/y": b"1", "a": b"2"}
  buckets.remove_below(there / "more")
  assert set(content(str(there))) == {"a.txt", "b/c.txt"}


@pytest.mark.parametrize(
  "use",
  [
    buckets.files_below,
    lambda path: buckets.copied(path).__enter__(),
    lambda path: find_jobs(path, buckets.place("out")),
  ],
)
def test_a_bucket_that_is_not_there_is_named(use):
  with pytest.raises(InputError, match=r"^s3://nowhere/videos: ") as caught:
    use(buckets.place("s3://nowhere/videos"))
  assert "\n" not in str(caught.value)


def test_nothing_is_uploaded_to_a_bucket_that_is_not_there(tmp_path):
  with (
    pytest.raises(InputError, match="is there a bucket 'nowhere'"),
    buckets.uploaded(buckets.place("s3://nowhere/file")) as path,
  ):
    path.write_text("1")


def test_missing_credentials_are_one_line(monkeypatch):
  for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    monkeypatch.delenv(name)
  for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
    monkeypatch.setenv(name, os.devnull)
  s3fs.S3FileSystem.clear_instance_cache()
  with pytest.raises(InputError) as caught:
    buckets.files_below(buckets.place(f"{BUCKET}/videos"))
  s3fs.S3FileSystem.clear_instance_cache()
  assert str(caught.value) == (
    f"{BUCKET}/videos: Unable to locate credentials; may this account use it? "
    "`aws s3 ls` should list 'diffmvr-test'"
  )


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "gcsfs", None)
  with pytest.raises(InputError) as caught:
    buckets.files_below(buckets.place("gs://nowhere"))
  assert str(caught.value) == (
    "gs://nowhere: gcsfs is missing; pip install 'diffmvr-jax[buckets]'"
  )
