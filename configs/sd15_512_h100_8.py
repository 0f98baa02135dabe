r"""The paper's scale on one machine with eight H100 of 80 GB.

  python -m diffmvr_jax.train --config configs/sd15_512_h100_8.py \
    --workdir DIR init_from=START data.path=RECORDS

The batch is the paper's, 8 windows, one per GPU. Parameters are sharded over
all GPUs. Compiled for this machine with `model.remat=none`, a step needs 11.6
GiB of each GPU. Six windows per GPU need 51 GiB, twelve need 71, and thirteen
do not fit, see docs/scaling.md. JAX takes three quarters of a GPU's memory,
which has room for six, unless XLA_PYTHON_CLIENT_MEM_FRACTION says more. Nobody
has run this experiment yet.
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
