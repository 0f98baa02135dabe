"""A Ray cluster of two nodes on this machine."""

import pytest
from ray.cluster_utils import Cluster

from tests.engines.fragile import STORE

# A dead node is noticed soon, and workers are not behind all other work.
SOON = {
  "health_check_initial_delay_ms": 0,
  "health_check_period_ms": 1000,
  "health_check_failure_threshold": 5,
  "worker_niceness": 0,
  # A disk with less room than Ray would like to see is not what is tested.
  "local_fs_capacity_threshold": 1.0,
}


@pytest.fixture(scope="module")
def cluster(bucket):  # whose environment the nodes' processes inherit
  node = {"num_cpus": 1, "object_store_memory": STORE}
  started = Cluster(
    initialize_head=True,
    head_node_args=node | {"_system_config": SOON, "include_dashboard": False},
  )
  started.add_node(**node)
  yield started
  started.shutdown()
