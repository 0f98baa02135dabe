"""Joining the processes of one run, as the environment describes them."""

import os
from collections.abc import Mapping

import jax

from diffmvr_jax.errors import InputError


def initialize(environment: Mapping[str, str] = os.environ) -> None:
  """Connects this process with the others; does nothing if it is alone.

  The first of these variables that is set decides:

  - `JAX_NUM_PROCESSES`, with `JAX_PROCESS_ID` and `JAX_COORDINATOR_ADDRESS`,
    as the Kubernetes and the local launcher set them;
  - SLURM's `SLURM_STEP_NUM_TASKS`, if it is more than 1;
  - `TPU_WORKER_HOSTNAMES` with several hosts, or `DIFFMVR_DISTRIBUTED=1`, as
    the TPU launcher sets it: JAX asks the pod itself.

  Call it before anything else that JAX does.

  Raises:
    InputError: a variable is missing or not a number.
  """
  if "JAX_NUM_PROCESSES" in environment:
    try:
      jax.distributed.initialize(
        environment["JAX_COORDINATOR_ADDRESS"],
        int(environment["JAX_NUM_PROCESSES"]),
        int(environment["JAX_PROCESS_ID"]),
      )
    except (KeyError, ValueError) as error:
      raise InputError(
        "JAX_NUM_PROCESSES is set, so JAX_PROCESS_ID and "
        f"JAX_COORDINATOR_ADDRESS are needed ({error})"
      ) from error
    return
  several = (
    int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1
    or "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    or environment.get("DIFFMVR_DISTRIBUTED") == "1"
  )
  if several:
    jax.distributed.initialize()
