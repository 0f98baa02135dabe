r"""The paper's scale: Stable Diffusion 1.5's networks at 512 px.

  python -m diffmvr_jax.convert import SD_FOLDER CLIP_FOLDER \
    --config configs/sd15_512.py --out START
  python -m diffmvr_jax.train --config configs/sd15_512.py --workdir DIR \
    init_from=START data.path=RECORDS

Learning rate, warm-up and batch are those of the paper's appendix D. Nobody has
run this experiment yet, so no hours and no result stand here. Tests check the
sizes of the networks.
"""

from diffmvr_jax.config import Config, MeshConfig, ModelConfig


def get_config() -> Config:
  """Returns the experiment; every network setting is a default."""
  return Config(
    name="sd15_512",
    model=ModelConfig(dtype="bfloat16"),
    mesh=MeshConfig(data=1, fsdp=-1),
  )
