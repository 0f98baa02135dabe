"""Work on a Ray cluster of two nodes: the same as here, if workers die, too.

`tests/engines/node_death.py` kills a node.
"""

import csv

import jax
import numpy as np
import pytest
import ray

from data_prep.__main__ import main as data_prep
from diffmvr_jax.checkpoints.model import save_model
from diffmvr_jax.engines.workers import open_workers
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluate import main as evaluate
from diffmvr_jax.models.diffmvr import DiffMVR
from tests.aligned import anchor_alone
from tests.buckets import content, put
from tests.engines.fragile import STORE, Unopened, opened
from tests.hostile import made
from tests.hostile.running import ended

# Ray forks before it runs another program, and tests before have used JAX.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


@pytest.fixture
def engine(cluster):
  return f"ray:{cluster.address}"


def files(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


def test_an_archive_is_restored_as_by_one_process(engine, tmp_path):
  videos, masks = tmp_path / "videos", tmp_path / "masks"
  masks.mkdir()
  for name in ("a", "people/b", "c"):
    path = videos / f"{name}.mkv"
    path.parent.mkdir(parents=True, exist_ok=True)
    made.clip(path)
    made.mask(masks / f"{path.stem}.png")
  (videos / "bad.mp4").write_text("no video")

  def restore(out, *options):
    how = ended(
      made.restored,
      [
        *(videos, "--method", "propagation", "--region", "frame"),
        *("--occluder", f"masks:{masks}", "--out", tmp_path / out, *options),
      ],
    )
    assert how.code == 1
    found = files(tmp_path / out)
    text = found.pop("manifest.csv").decode()
    rows = [
      {k: v for k, v in row.items() if k != "seconds"}
      for row in csv.DictReader(text.splitlines())
    ]
    # After ten seconds there are lines of progress as well.
    lines = [x for x in how.lines if x.startswith(("failed: ", "error: "))]
    return found, rows, lines, how.out.replace(out, "")

  assert restore("there", "--engine", engine) == restore("here")


def test_an_archive_in_a_bucket_is_restored_to_one(engine, bucket, tmp_path):
  (tmp_path / "videos").mkdir()
  for name in "abc":
    made.clip(tmp_path / "videos" / f"{name}.mkv")
  made.mask(tmp_path / "mask.png")
  put(tmp_path / "videos", f"{bucket}/ray")
  arguments = [
    *("--method", "propagation", "--region", "frame"),
    *("--occluder", f"masks:{tmp_path / 'mask.png'}"),
  ]
  for source, out, *options in (
    (tmp_path / "videos", tmp_path / "here"),
    (f"{bucket}/ray", f"{bucket}/there", "--engine", engine),
  ):
    how = ended(made.restored, [source, "--out", out, *arguments, *options])
    assert how.code == 0, how.lines
  found, here = content(f"{bucket}/there"), files(tmp_path / "here")
  assert found.pop("manifest.csv") and here.pop("manifest.csv")
  assert found == here and len(found) == 3


def test_a_data_set_is_the_same(engine, tmp_path):
  for out, options in (("here", []), ("there", ["--engine", engine])):
    names = ["export", "procedural:0-3", "--size", "32"]
    data_prep([*names, "--out", str(tmp_path / out), *options])
  assert files(tmp_path / "there") == files(tmp_path / "here")


def test_an_evaluation_is_the_same(engine, tiny_config, tiny_data, tmp_path):
  """With a model, which each worker loads."""
  config = anchor_alone(tiny_config)
  params = DiffMVR.of(config).init(jax.random.key(0), config.data.image_size)
  save_model(tmp_path / "run", config, params)
  arguments = [
    *("--checkpoint", str(tmp_path / "run"), "--data", str(tiny_data)),
    *("--split", "train", "--metrics", "psnr,tc"),
  ]
  evaluate([*arguments, "--out", str(tmp_path / "here")])
  there = ["--out", str(tmp_path / "there"), "--engine", engine]
  evaluate([*arguments, *there])
  found = files(tmp_path / "there")
  assert len(found) == 4
  assert found == files(tmp_path / "here")


def test_workers_die_and_the_object_store_is_full(cluster, tmp_path):
  items = [
    *(("a", "works"), ("b", "dies once"), ("c", "is bad"), ("d", "is large")),
    *(("e", "dies always"), ("f", "is large"), ("g", "works")),
  ]
  with opened(cluster, tmp_path) as workers:
    full = [ray.put(np.zeros(30_000_000, np.uint8)) for _ in range(5)]
    found = list(workers.work(items, lambda frames: None, in_order=True))
    assert sum(map(len, ray.get(full))) > STORE
  assert [item for item, _ in found] == items
  results = {name: result for (name, _), result in found}
  # A video that kills its workers costs itself alone.
  assert isinstance(results["e"], InputError)
  assert "a process died 4 times" in str(results["e"])
  assert isinstance(results["c"], InputError)
  assert str(results["c"]) == "c: is bad"
  assert {n: results[n] for n in "abg"} == {n: n for n in "abg"}
  for name in "df":
    assert len(results[name]) == 40_000_000 and results[name].all()


def test_a_worker_that_cannot_be_made_ends_the_command(cluster):
  with (
    pytest.raises(InputError, match=r"model\.npz: no such file.* \(on "),
    open_workers(Unopened, cluster.address, computes=False),
  ):
    pass
  assert not ray.is_initialized()


def test_a_cluster_that_is_not_there_is_named():
  with (
    pytest.raises(InputError, match=r"--engine ray:127\.0\.0\.1:1: "),
    open_workers(Unopened, "127.0.0.1:1", computes=False),
  ):
    pass
