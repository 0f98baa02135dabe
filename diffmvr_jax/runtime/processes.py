"""The processes of one run: joining them, and gathering what each has."""

import os
import pickle
from collections.abc import Mapping
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from diffmvr_jax.errors import InputError

_Value = TypeVar("_Value")


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


def gather(value: _Value) -> list[_Value]:
  """The values of all processes, in the processes' order.

  They travel as bytes, so that float64 arrives whole, which JAX would shorten.

  Args:
    value: this process's value, which has to be picklable.

  Example:
    >>> gather({"psnr": 30.5})
    [{'psnr': 30.5}]
  """
  if jax.process_count() == 1:
    return [value]
  own = np.frombuffer(pickle.dumps(value), np.uint8)
  sizes = multihost_utils.process_allgather(np.asarray([len(own)], np.int32))
  padded = np.zeros(int(sizes.max()), np.uint8)
  padded[: len(own)] = own
  rows = np.asarray(multihost_utils.process_allgather(padded))
  return [
    pickle.loads(row[: int(size)].tobytes())  # from processes of this run
    for row, size in zip(rows, sizes.reshape(-1), strict=True)
  ]
