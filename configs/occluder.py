r"""The network that tells what covers a face, which comes with the package.

  python -m data_prep export portraits:PORTRAITS --aligned none \
    --paste sprites:HANDS,sprites:HANDS,objects --seed 11 \
    --occlusion-ratio 0.06-0.6 --occlusion-seconds 0.15-1.2 --size 128 \
    --clips-per-portrait 4 --validation-share 0.05 --test-share 0 \
    --workers 2 --out data/occluder
  python -m diffmvr_jax.train --config configs/occluder.py \
    --workdir runs/occluder
  python -m diffmvr_jax.train --config configs/occluder.py \
    --workdir runs/occluder-final init_from=runs/occluder seed=1 \
    occluder_stage.steps=2000 occluder_stage.optimizer.decay=cosine \
    occluder_stage.optimizer.warmup_steps=50
  python -m diffmvr_jax.convert pretrained runs/faces128-final \
    --with runs/occluder-final --out faces128.safetensors

It is trained on covered and free frames alike, at one learning rate for as long
as there is time; a second, short training lowers the rate to zero.
`occluder_validation.jsonl` says the intersection over union on people that it
has not seen, with and without a free crop to compare with, and the share of
free frames in which it finds something. The shipped network was trained in
other parts, on a CPU and a GPU: `docs/results.md` says in which, and how well
it does.
"""

from diffmvr_jax.config import (
  CheckpointConfig,
  Config,
  DataConfig,
  DiffusionConfig,
  DiffusionStageConfig,
  ModelConfig,
  OccluderConfig,
  OccluderStageConfig,
  OptimizerConfig,
  SamplingConfig,
)


def get_config() -> Config:
  """Returns the experiment."""
  return Config(
    name="occluder",
    model=ModelConfig(occluder=OccluderConfig()),
    # There is no other network: what is found is filled by propagation.
    diffusion=DiffusionConfig(prediction="sample", anchor="propagated"),
    diffusion_stage=DiffusionStageConfig(steps=0),
    sampling=SamplingConfig(steps=0),
    data=DataConfig(path="data/occluder", image_size=128),
    occluder_stage=OccluderStageConfig(
      steps=60_000,
      batch_size=16,
      validate_every=500,
      validate_batches=16,
      optimizer=OptimizerConfig(
        learning_rate=1e-3,
        warmup_steps=200,
        b2=0.99,
        weight_decay=1e-4,
        ema_decay=0.998,
      ),
    ),
    checkpoint=CheckpointConfig(every=250),
    log_every=25,
  )
