r"""The paper's scale on one machine with eight H100 of 80 GB.

  python -m diffmvr_jax.train --config configs/sd15_512_h100_8.py \
    --workdir DIR init_from=START data.path=RECORDS

The paper's batch of 8 windows, one per GPU. No GPU has compiled it: that one
window fits is concluded from the 12.3 GiB that the same step needs of a TPU
v5e chip with every block recomputed (docs/scaling.md), and the parameters are
sharded over 8 in place of 16. With so much memory left, `model.remat=none`
should be tried first.
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
    model=dataclasses.replace(config.model, remat="full"),
    diffusion_stage=DiffusionStageConfig(batch_size=8),
  )
