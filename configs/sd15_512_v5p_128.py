r"""The paper's scale on 128 chips of TPU v5p, four windows per chip.

  launch/tpu_pod.sh --name twin --zone ZONE --type v5p-256 \
    --version VERSION --bucket BUCKET -- --config configs/sd15_512_v5p_128.py \
    --workdir /data/twin init_from=/data/START data.path=/data/RECORDS

The launcher mounts the bucket at /data. A v5p-256 has 128 chips: its name
counts cores. A batch is 512 windows of 8 frames, 64 times the paper's, at the
paper's learning rate. A chip has room for more: compiled for this slice, with
the parameters sharded over 16 chips and every block recomputed, twenty-eight
windows take 93 % of its memory, and thirty, the most that fit, take 99 %, see
docs/scaling.md. Nobody has run this experiment yet.
"""

import dataclasses

from configs import sd15_512
from diffmvr_jax.config import Config, DiffusionStageConfig, MeshConfig


def get_config() -> Config:
  """Returns the experiment."""
  config = sd15_512.get_config()
  return dataclasses.replace(
    config,
    name="sd15_512_v5p_128",
    model=dataclasses.replace(config.model, remat="full"),
    diffusion_stage=DiffusionStageConfig(batch_size=512),
    mesh=MeshConfig(data=8, fsdp=16),
  )
