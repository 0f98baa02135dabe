r"""The paper's scale on 256 chips of TPU v5e, two windows per chip.

  launch/tpu_pod.sh --name twin --zone ZONE --type v5litepod-256 \
    --version VERSION --bucket BUCKET -- --config configs/sd15_512_v5e_256.py \
    --workdir /data/twin init_from=/data/START data.path=/data/RECORDS

The launcher mounts the bucket at /data. A batch is 512 windows of 8 frames, 64
times the paper's, at the paper's learning rate. A chip has room for four
windows: compiled for this slice with every block recomputed, they take 94 % of
its memory. Parameters are sharded over 16 chips, not over all 256, which
gathers less than half the bytes, see docs/scaling.md. Nobody has run this
experiment yet.
"""

import dataclasses

from configs import sd15_512
from diffmvr_jax.config import Config, DiffusionStageConfig, MeshConfig


def get_config() -> Config:
  """Returns the experiment."""
  config = sd15_512.get_config()
  return dataclasses.replace(
    config,
    name="sd15_512_v5e_256",
    model=dataclasses.replace(config.model, remat="full"),
    diffusion_stage=DiffusionStageConfig(batch_size=512),
    mesh=MeshConfig(data=16, fsdp=16),
  )
