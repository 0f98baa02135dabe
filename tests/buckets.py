"""A server of buckets on this machine, moto's, as Amazon's would answer."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import fsspec

BUCKET = "s3://diffmvr-test"


@contextmanager
def served(log):
  """Serves an empty bucket, `BUCKET`, and lets this process know of it."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  known = {
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
  }
  before = {name: os.environ.get(name) for name in known}
  os.environ.update(known)
  with log.open("wb") as output:
    server = subprocess.Popen(
      [sys.executable, "-m", "moto.server", "--port", str(port)],
      stdout=output,
      stderr=output,
    )
  try:
    _wait(server, port, log)
    fsspec.filesystem("s3").mkdir(BUCKET)
    yield BUCKET
  finally:
    server.kill()
    server.wait()
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value


def _wait(server, port, log):
  for _ in range(600):
    try:
      socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
      assert server.poll() is None, log.read_text()
      time.sleep(0.1)
    else:
      return
  raise AssertionError(log.read_text())


def put(folder, url):
  """Copies a folder into a bucket."""
  system = fsspec.filesystem("s3")
  for path in folder.rglob("*"):
    if path.is_file():
      system.put_file(str(path), f"{url}/{path.relative_to(folder)}")


def content(url):
  """All files below a folder in a bucket, by name."""
  system = fsspec.filesystem("s3")
  system.invalidate_cache()
  start = len(url.removeprefix("s3://")) + 1
  return {key[start:]: system.cat_file(key) for key in system.find(url)}
