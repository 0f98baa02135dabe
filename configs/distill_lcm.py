r"""Distils the model of `drawn64.py` into one that needs 4 or 2 steps.

Run these after the commands in `drawn64.py`:

  python -m diffmvr_jax.train --config configs/distill_lcm.py \
    --workdir runs/distilled
  python -m diffmvr_jax.evaluate --checkpoint runs/distilled \
    --data data/drawn64 --out runs/distilled/report

The training run takes about 6 minutes on two CPU cores. The model reaches 22.3
dB PSNR inside the mask in 4 steps or 2, where its teacher reaches 22.5 in 50;
`docs/restoring.md` has the table. For another model, call `distilled` with
its own config and workdir.
"""

import dataclasses
from pathlib import Path

from diffmvr_jax.config import (
  AutoencoderStageConfig,
  CheckpointConfig,
  Config,
  ConsistencyConfig,
  DiffusionStageConfig,
  OptimizerConfig,
  SamplingConfig,
  ValidationConfig,
  load_config,
)


def distilled(teacher: Config, workdir: str) -> Config:
  """Returns the distillation of a teacher that was trained in `workdir`."""
  return dataclasses.replace(
    teacher,
    name=f"{teacher.name}-lcm",
    init_from=workdir,
    autoencoder_stage=AutoencoderStageConfig(steps=0),
    diffusion_stage=DiffusionStageConfig(
      objective="consistency",
      # With few timesteps a short training run carries clean data up to the
      # last one; Stable Diffusion's distillations take 50.
      consistency=ConsistencyConfig(grid=4),
      steps=600,
      batch_size=4,
      mask_weight=teacher.diffusion_stage.mask_weight,
      optimizer=OptimizerConfig(
        learning_rate=2e-4, warmup_steps=50, decay="cosine", ema_decay=0.99
      ),
    ),
    checkpoint=CheckpointConfig(every=200),
    validation=ValidationConfig(every=0),
    sampling=SamplingConfig(sampler="lcm", steps=4, grid=4),
  )


def get_config() -> Config:
  """Returns the experiment."""
  drawn64 = load_config(Path(__file__).with_name("drawn64.py"))
  return distilled(drawn64, "runs/drawn64")
