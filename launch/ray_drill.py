r"""Kills workers and a node of a Ray cluster at their work.

  python -m launch.ray_drill [--videos 24] [--kills 4] [--out runs/ray_drill]

Three nodes run on this machine, with one CPU each; the object store of the
first is full. The same drawn videos are made into a data set by one process,
and by the cluster, while workers are killed, and a node in the middle. Both
have to be the same, byte for byte. Ends with code 1 where they are not.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffmvr_jax.command_line.arguments import ArgumentParser, seed, whole
from diffmvr_jax.errors import InputError, run_command

if TYPE_CHECKING:
  from ray.cluster_utils import Cluster

STORE = 100_000_000  # bytes of a node's object store
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE}
# Workers are not behind all other work, and a disk that is nearly full does not
# matter: what is stored is small.
_SETTINGS = {"worker_niceness": 0, "local_fs_capacity_threshold": 1.0}
AT_WORK = b"ray::_Actor.work"  # the name of a process


def main(argv: list[str]) -> None:
  """Runs the drill."""
  parser = ArgumentParser(
    prog="python -m launch.ray_drill", description=__doc__
  )
  parser.add_argument("--videos", type=whole(1, 100_000), default=24)
  parser.add_argument("--kills", type=whole(1, 10_000), default=4)
  parser.add_argument("--seed", type=seed, default=0)
  parser.add_argument("--out", type=Path, default=Path("runs/ray_drill"))
  arguments = parser.parse_args(argv)
  out = arguments.out
  if out.exists():
    raise InputError(f"{out}: holds a drill already; delete it first")
  if find_spec("ray") is None:
    raise InputError("ray is missing; pip install 'diffmvr-jax[ray]'")
  command = [
    *(sys.executable, "-m", "data_prep", "export", "--size", "128"),
    f"procedural:0-{arguments.videos - 1}",
  ]
  if subprocess.run([*command, "--out", out / "whole"]).returncode:
    raise InputError(f"{out / 'whole'}: the export failed; it says why above")
  print("the data set of one process is done", flush=True)
  command += ["--out", str(out / "killed"), "--engine"]
  code, kills, node_died = _export_and_kill(
    command, arguments.kills, random.Random(arguments.seed)
  )
  if (
    code or not node_died or _content(out / "killed") != _content(out / "whole")
  ):
    print(
      f"code {code}, {kills} kills; the data sets or the kills are not whole"
    )
    sys.exit(1)
  print(f"{kills} kills and a dead node: every byte is equal")


def _export_and_kill(
  command: list[str], wanted: int, rng: random.Random
) -> tuple[int, int, bool]:
  """Exports on a cluster, and kills workers and a node meanwhile.

  Args:
    command: the export, up to its option `--engine`.
    wanted: number of workers to kill.
    rng: chooses whom, and when.

  Returns:
    The export's exit code, the number of killed workers, and whether the node
    was killed.
  """
  import ray
  from ray.cluster_utils import Cluster

  with ExitStack() as stack:  # after Ctrl-C, too, nothing goes on
    cluster = Cluster(
      initialize_head=True,
      head_node_args=NODE | {"_system_config": _SETTINGS},
    )
    stack.callback(cluster.shutdown)
    cluster.add_node(**NODE)
    third = cluster.add_node(**NODE)
    ray.init(cluster.address, log_to_driver=False)
    stack.callback(ray.shutdown)
    # Nothing else fits into the first node's store.
    full = [ray.put(np.zeros(STORE // 4, np.uint8)) for _ in range(5)]
    export = subprocess.Popen([*command, f"ray:{cluster.address}"])
    stack.callback(export.kill)  # of no effect once it has ended
    kills = 0
    while export.poll() is None and kills < wanted:
      if kills == wanted // 2 and third is not None:
        cluster.remove_node(third, allow_graceful=False)
        third = None
      kills += _kill_one(cluster, rng)
      time.sleep(rng.uniform(0, 4))
    code = export.wait()
    del full
  return code, kills, third is None


def _kill_one(cluster: "Cluster", rng: random.Random) -> int:
  """Kills a worker at its work; returns 0 if there is none."""
  working = sorted(_working(cluster))
  if not working:
    return 0
  with suppress(ProcessLookupError):
    os.kill(rng.choice(working), signal.SIGKILL)
    return 1
  return 0


def _working(cluster: "Cluster") -> Iterator[int]:
  """The processes of this cluster's nodes that are at a video; Linux only."""
  nodes = {
    node.all_processes["raylet"][0].process.pid
    for node in cluster.list_all_nodes()
  }
  for folder in Path("/proc").glob("[0-9]*"):
    with suppress(OSError):  # it may have ended
      parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
      if parent in nodes and AT_WORK in (folder / "cmdline").read_bytes():
        yield int(folder.name)


def _content(folder: Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


if __name__ == "__main__":
  run_command(main)
