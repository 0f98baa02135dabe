r"""Faces at 256 px: the fusion network of `faces128`, trained on at that size.

  python -m data_prep export portraits:PORTRAITS --paste sprites:HANDS \
    --seed 21 --occlusion-ratio 0.15-0.6 --occlusion-seconds 0.25-1.5 \
    --size 256 --validation-share 0.06 --test-share 0 --workers 2 \
    --out data/faces256
  python -m diffmvr_jax.train --config configs/faces256.py \
    --workdir runs/faces256 init_from=pretrained:faces128

Export draws about 17 frames per second on two CPU cores, and an update takes
2.3 seconds on two. `XLA_FLAGS=--xla_force_host_platform_device_count=2` uses
both. So the 800 updates take half an hour.

It is not shipped. With `fusion_stage.steps=450` (17 minutes; 140 portraits) it
gained 0.49 dB over propagation on held-out portraits, and lost 0.26 dB on film.
There `faces128` with detail is 0.35 dB better in a third of the time:
`docs/results.md`, "Crops of 256 px".
"""

from dataclasses import replace

from configs import faces128
from diffmvr_jax.config import Config


def get_config() -> Config:
  """Returns the experiment."""
  config = faces128.get_config()
  stage = config.fusion_stage
  return replace(
    config,
    name="faces256",
    data=replace(config.data, path="data/faces256", image_size=256),
    fusion_stage=replace(
      stage,
      steps=800,
      validate_every=200,
      validate_batches=8,
      optimizer=replace(
        stage.optimizer,
        learning_rate=2e-4,
        warmup_steps=50,
        decay="cosine",
        ema_decay=0.99,
      ),
    ),
    checkpoint=replace(config.checkpoint, every=100),
  )
