"""A node of a Ray cluster dies at its work; `make test-ray` runs this."""

import os
import signal
import threading
import time
from contextlib import suppress

from tests.engines.fragile import KILLED, STORE, opened


def test_what_a_dead_node_was_at_is_done_by_another(cluster, tmp_path):
  third = cluster.add_node(num_cpus=1, object_store_memory=STORE)

  def began():
    """The node and the process that each item was begun by."""
    marks = [tmp_path / name for name in names]
    return [tuple(m.read_text().split()) for m in marks if m.exists()]

  def kill():
    while third.node_id not in dict(began()):
      time.sleep(0.05)
    process = int(dict(began())[third.node_id])
    cluster.remove_node(third, allow_graceful=False)
    with suppress(ProcessLookupError):  # which may have noticed by itself
      os.kill(process, signal.SIGKILL)
    (tmp_path / KILLED).touch()

  names = "abcdef"
  killer = threading.Thread(target=kill)
  killer.start()
  with opened(cluster, tmp_path) as workers:
    items = [(name, "waits") for name in names]
    results = dict(workers.work(items, lambda frames: None))
  killer.join()
  assert results == {item: item[0] for item in items}
  assert third.node_id not in dict(began())
