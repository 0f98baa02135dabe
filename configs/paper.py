r"""The paper as it is printed, wherever it can be.

  python -m diffmvr_jax.convert import SD_FOLDER CLIP_FOLDER \
    --config configs/paper.py --out START \
    --set diffusion.beta_start=0.0008 diffusion.beta_end=0.0145
  python -m diffmvr_jax.train --config configs/paper.py --workdir DIR \
    init_from=START data.path=RECORDS

Nobody has run this experiment at its size; no hours and no result stand here.
`docs/fidelity.md` says where each setting is printed. Noise is added to the
masked frame's latents, which the network also starts from, and ε is what it
learns: such a network restores the masked frame, hand or hole included, as
there is no truth in the printed loss. Each of our departures is an override:

  diffusion.variable=target         noise is added to the truth's latents
  sampling.start=noise              sampling starts from noise
  model.mask_conditioning=concat model.unet.in_channels=9
                                    the U-Net sees mask and masked latents
  model.guidance.tokens=patch       all patch tokens, so attention can choose
  model.guidance.towers=shared      one CLIP
  diffusion_stage.motion.on=x0      the motion loss has a gradient
  diffusion_stage.motion.relative_to=target
                                    true motion is not punished
  sampling.sampler=ddim sampling.steps=50
                                    50 steps of DDIM in place of 1000
  sampling.noise_share=1.0          one noise for all frames

Where nothing is printed, the setting is the one that adds nothing: no averaging
of parameters, no clipping, no dropout, no mirroring. λ, α1 and α2 are not
printed; they are 0.1 and ½, ½. A batch of 8 is read as one window of 8 adjacent
frames, which Eq. (4) needs. p → p′ "expands" with ViT-B/32's 512 numbers, not
with ViT-L/14's 768, so CLIP is ViT-B/32.
"""

from diffmvr_jax.config import (
  ClipVisionConfig,
  Config,
  DataConfig,
  DiffusionConfig,
  DiffusionStageConfig,
  GuidanceConfig,
  MeshConfig,
  ModelConfig,
  MotionConfig,
  OptimizerConfig,
  SamplingConfig,
  UNetConfig,
  ValidationConfig,
)


def get_config() -> Config:
  """Returns the experiment."""
  return Config(
    name="paper",
    model=ModelConfig(
      unet=UNetConfig(in_channels=4),
      clip=ClipVisionConfig(
        patch_size=32,
        width=768,
        layers=12,
        heads=12,
        mlp_dim=3072,
        projection_dim=512,
      ),
      guidance=GuidanceConfig(
        tokens="pooled", towers="separate", hidden_dim=768, dropout=0.0
      ),
      mask_conditioning="none",
    ),
    diffusion=DiffusionConfig(
      beta_start=0.0008, beta_end=0.0145, variable="masked"
    ),
    data=DataConfig(image_size=512, window=8, flip=False),
    diffusion_stage=DiffusionStageConfig(
      steps=420_000,
      batch_size=1,  # window of 8 frames
      motion=MotionConfig(on="noisy", relative_to="zero"),
      optimizer=OptimizerConfig(
        learning_rate=1e-5, warmup_steps=1000, clip_norm=1e9, ema_decay=0.0
      ),
    ),
    mesh=MeshConfig(data=1, frame=-1),
    validation=ValidationConfig(every=2000),
    sampling=SamplingConfig(
      sampler="ddpm", steps=1000, noise_share=0.0, start="masked"
    ),
    log_every=500,
  )
