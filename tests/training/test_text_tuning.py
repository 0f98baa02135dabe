"""The tuned text baselines, small: imported, trained, and put into a table."""

import dataclasses

import jax
import numpy as np
import pytest

from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.config import (
  ClipTextConfig,
  DiffusionStageConfig,
  MotionConfig,
  OptimizerConfig,
  PriorConfig,
  SamplingConfig,
  load_config,
)
from diffmvr_jax.convert import main as convert
from diffmvr_jax.training.loop import train
from launch.paper import main as make_table
from tests.parity.test_text_pipelines import GENERATIONS, build_pipeline
from tests.weights.tiny_sd import CONFIG

pytestmark = pytest.mark.filterwarnings("ignore")

TOWER = ClipTextConfig(
  vocabulary=6, width=24, layers=2, heads=2, mlp_dim=16, activation="gelu"
)


def as_override(config: ClipTextConfig) -> str:
  return f"model.text={dataclasses.asdict(config)}"


def test_from_images_to_a_table(tiny_data, tmp_path):
  """Tuned-runwayml on frames; Tuned-stabilityai with a prior and its tower."""
  _, folder = build_pipeline(tmp_path, GENERATIONS["stabilityai"])
  start = tmp_path / "start"
  convert(
    [
      *("import", str(folder), "--config", str(CONFIG), "--out", str(start)),
      *("--prompt", "hi", "--class-prompt", "h", "--set"),
      *("model.unet.branches=('text',)", "model.unet.alpha=(1.0,)"),
      *("model.unet.heads=(2,4)", as_override(TOWER)),
    ]
  )
  stored = open_model(start)
  assert {"text_encoder", "prompt_tokens"} <= stored.shapes.keys()
  base = dataclasses.replace(
    stored.config,
    init_from=str(start),
    data=dataclasses.replace(stored.config.data, path=str(tiny_data), window=1),
    sampling=SamplingConfig(steps=2, guidance=(7.5,), noise_share=0.0),
    log_every=1,
  )
  optimizer = OptimizerConfig(learning_rate=1e-3, warmup_steps=0, ema_decay=0.0)
  stage = DiffusionStageConfig(
    steps=2,
    batch_size=2,
    motion=MotionConfig(weight=0.0),
    optimizer=optimizer,
  )
  tuned = dataclasses.replace(base, diffusion_stage=stage)
  prior = PriorConfig(path=str(tiny_data))
  dreambooth = dataclasses.replace(
    base,
    model=dataclasses.replace(base.model, train_text=True),
    diffusion_stage=dataclasses.replace(stage, batch_size=1, prior=prior),
  )
  for name, config in (("runwayml", tuned), ("stabilityai", dreambooth)):
    train(config, tmp_path / name)
  log = (tmp_path / "stabilityai" / "diffusion.jsonl").read_text()
  assert '"prior"' in log

  def moved(name, network):
    before, after = (
      jax.tree.leaves(open_model(tmp_path / run).load([network]))
      for run in ("start", name)
    )
    return any(
      not np.array_equal(x, y) for x, y in zip(before, after, strict=True)
    )

  assert moved("runwayml", "unet") and not moved("runwayml", "text_encoder")
  assert moved("stabilityai", "text_encoder")
  assert not moved("stabilityai", "prompt_tokens")
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "segmented").symlink_to(tiny_data)
  models = tmp_path / "models.toml"
  models.write_text(
    '[Tuned-runwayml]\ncheckpoint = "runwayml"\n'
    '[Tuned-stabilityai]\ncheckpoint = "stabilityai"\n'
  )
  out = tmp_path / "out"
  make_table(
    [
      *("table2", "--data", str(tmp_path / "data"), "--limit", "1"),
      *("--models", str(models), "--out", str(out)),
    ]
  )
  text = (out / "table2.md").read_text()
  for name in ("Tuned-runwayml", "Tuned-stabilityai"):
    row = next(x for x in text.splitlines() if x.startswith(f"| {name} |"))
    ssim = float(row.split("|")[3])
    assert 0 < ssim < 1


def test_the_configs_have_the_papers_numbers():
  configs = CONFIG.parents[2] / "configs"
  tuned = load_config(configs / "tuned_runwayml.py").diffusion_stage
  assert tuned.steps * tuned.batch_size == 1575 * 200
  dreambooth = load_config(configs / "tuned_stabilityai.py")
  assert dreambooth.diffusion_stage.steps == 10 * 80
  assert dreambooth.model.text is not None and dreambooth.model.train_text
