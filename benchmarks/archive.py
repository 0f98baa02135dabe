r"""Restores the same clips in one process, in two, and on Ray.

  python -m benchmarks.archive --folder runs/archive [--clips 8] \
    [--frames 750] [-- ARGUMENTS OF RESTORE]

Draws the clips, of a face that is covered for a second, with their masks.
Without arguments they are restored with `--method propagation --region frame`
and these masks. Ray has two CPUs; how long it takes to start is told beside.
The results are compared: they have to be the same bytes. For a number that
means something, nothing else may run on the machine: the load is printed.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from benchmarks.long_video import write

PROCESSES = 2
RESTORE = [sys.executable, "-m", "diffmvr_jax.restore"]


def main() -> None:
  """Prints a table: seconds of each way, by those of two processes."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--folder", type=Path, required=True)
  parser.add_argument("--clips", type=int, default=8)
  parser.add_argument("--frames", type=int, default=750)
  parser.add_argument("arguments", nargs="*", metavar="ARGUMENT")
  given = parser.parse_args()
  folder = given.folder.resolve()
  names = drawn(folder, given.clips, given.frames)
  arguments = given.arguments or [
    *("--method", "propagation", "--region", "frame"),
    *("--occluder", f"masks:{folder / 'masks'}"),
  ]
  lists = [folder / "videos" / f"part{i}.txt" for i in range(PROCESSES)]
  for i, path in enumerate(lists):
    path.write_text("\n".join(names[i::PROCESSES]))
  everything = folder / "videos" / "all.txt"
  everything.write_text("\n".join(names))
  ways = {
    "one process": [[everything]],
    "two processes": [[path] for path in lists],
    "Ray": [[everything, "--engine"]],  # its address follows
  }
  load, started = os.getloadavg()[0], 0.0
  seconds, digests = {}, {}
  for way, commands in ways.items():
    outs = [folder / way / str(i) for i in range(len(commands))]
    shutil.rmtree(folder / way, ignore_errors=True)
    start = time.perf_counter()
    cluster = _started() if way == "Ray" else None
    if cluster is not None:
      started = time.perf_counter() - start
      commands[0].append(f"ray:{cluster.address}")
    start = time.perf_counter()
    running = [
      subprocess.Popen([*RESTORE, *command, "--out", out, *arguments])
      for command, out in zip(commands, outs, strict=True)
    ]
    codes = [process.wait() for process in running]
    seconds[way] = time.perf_counter() - start
    if cluster is not None:
      cluster.shutdown()
    if any(codes):
      raise SystemExit(f"{way}: a command failed")
    digests[way] = {
      path.name: hashlib.sha256(path.read_bytes()).hexdigest()
      for out in outs
      for path in out.iterdir()
      if path.suffix != ".csv"
    }
  same = all(digest == digests["one process"] for digest in digests.values())
  print(
    f"load before: {load:.1f}; Ray started in {started:.1f} s; the same bytes: "
    f"{'yes' if same else 'NO'}"
  )
  print("| way | s | by two processes |\n|---|---:|---:|")
  for way, taken in seconds.items():
    print(f"| {way} | {taken:.1f} | {taken / seconds['two processes']:.2f} |")


def _started() -> Cluster:
  return Cluster(
    initialize_head=True,
    head_node_args={
      "num_cpus": PROCESSES,
      "object_store_memory": 10**8,
      # Else they would be behind whatever else the machine does.
      "_system_config": {"worker_niceness": 0},
    },
  )


def drawn(folder: Path, clips: int, frames: int) -> list[str]:
  """Draws clips and masks that are not there; returns the clips' names."""
  names = [f"clip{i}.mp4" for i in range(clips)]
  for part in ("videos", "masks"):
    (folder / part).mkdir(parents=True, exist_ok=True)
  for name in names:
    masks = folder / "masks" / name
    if not masks.exists():
      write(folder / "videos" / name, masks, frames)
  return names


if __name__ == "__main__":
  main()
