r"""The paper's scale on one machine with eight H100 of 80 GB.

  python -m diffmvr_jax.train --config configs/sd15_512_h100_8.py \
    --workdir DIR init_from=START data.path=RECORDS

The paper's batch of 8 windows, one per GPU, parameters sharded over all.
Compiled for this machine, a step needs 11.6 GiB of each GPU without
recomputing anything; six windows per GPU need 51 GiB, twelve 71, thirteen do
not fit, see docs/scaling.md. Of a GPU's memory JAX takes three quarters, room
for six, unless XLA_PYTHON_CLIENT_MEM_FRACTION says more. No run of it has been
made.
"""

import dataclasses

from configs import sd15_512
from diffmvr_jax.config import Config, DiffusionStageConfig


def get_config() -> Config:
  """Returns the experiment."""
  config = sd15_512.get_config()
  return dataclasses.replace(
    config,
    name="sd15_512_h100_8",
    diffusion_stage=DiffusionStageConfig(batch_size=8),
  )
