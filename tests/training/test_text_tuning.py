"""The tuned text baselines, small: imported, trained, and put into a table."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
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
from diffmvr_jax.data.record_codec import blank_record
from diffmvr_jax.data.records import ShardWriter, shard_name
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.sampling import restore_window
from diffmvr_jax.media.pictures import read_picture
from diffmvr_jax.models.observation import Observation
from diffmvr_jax.training.loop import train
from launch.class_pictures import main as paint_class
from launch.paper import main as make_table
from tests.parity.test_text_pipelines import GENERATIONS, build_pipeline
from tests.weights.tiny_sd import CONFIG

pytestmark = pytest.mark.filterwarnings("ignore")

TOWER = ClipTextConfig(
  vocabulary=6, width=24, layers=2, heads=2, mlp_dim=16, activation="gelu"
)


def as_override(config: ClipTextConfig) -> str:
  return f"model.text={dataclasses.asdict(config)}"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
  """An import with a prompt of the class, and one without."""
  root = tmp_path_factory.mktemp("start")
  _, folder = build_pipeline(root, GENERATIONS["stabilityai"])
  for name, words in (("start", ["--class-prompt", "h"]), ("no-class", [])):
    convert(
      [
        *("import", str(folder), "--config", str(CONFIG)),
        *("--out", str(root / name), "--prompt", "hi", *words, "--set"),
        *("model.unet.branches=('text',)", "model.unet.alpha=(1.0,)"),
        *("model.unet.heads=(2,4)", as_override(TOWER)),
        *("sampling.steps=2", "sampling.guidance=(7.5,)"),
      ]
    )
  return root / "start"


@pytest.fixture(scope="module")
def pictures(start, tmp_path_factory):
  """What the untuned model paints of the class, in two runs."""
  out = tmp_path_factory.mktemp("class") / "pictures"
  paint_class([str(start), "--out", str(out), "--count", "1"])
  first = (out / "00000.png").stat()
  paint_class([str(start), "--out", str(out), "--count", "3"])
  assert (out / "00000.png").stat() == first  # it is kept
  return out


def test_the_untuned_model_paints_its_class(start, pictures, tiny_checkpoint):
  images = [read_picture(path) for path in sorted(pictures.iterdir())]
  assert [image.shape for image in images] == [(32, 32, 3)] * 3
  assert not np.array_equal(images[0], images[1])
  # They are what it paints where the class prompt stands in the prompt's place.
  stored = open_model(start)
  params = stored.load()
  params["prompt_tokens"] = params["prompt_tokens"][np.array([2, 1, 0])]
  black = jnp.zeros((1, 1, 32, 32, 3), jnp.uint8)
  none = jnp.zeros((1, 1), bool)
  config = stored.config
  told = jax.jit(partial(restore_window, config.model, config.sampling))(
    params,
    make_schedule(config.diffusion),
    Observation(
      frame=black,
      mask=jnp.ones((1, 1, 32, 32, 1), jnp.uint8),
      symmetric=black,
      past=None,
      symmetric_valid=none,
      past_valid=none,
    ),
    key=jax.random.fold_in(jax.random.key(0), 1),
    frame_index=jnp.zeros((1, 1), jnp.int32),
  )
  np.testing.assert_array_equal(np.asarray(told)[0, 0], images[1])
  for model, said in (
    (tiny_checkpoint, "is not told anything in words"),
    (start.with_name("no-class"), "imported without a class prompt"),
  ):
    with pytest.raises(InputError, match=said):
      paint_class([str(model), "--out", str(pictures)])
  with pytest.raises(InputError, match=r"seed=1: only sampling\.KEY"):
    paint_class([str(start), "seed=1", "--out", str(pictures)])


def records_of(pictures, folder):
  """Records with a square over each picture, as an export pastes a hand."""
  folder.mkdir()
  blank = blank_record(32)
  covered = blank.mask[..., None].astype(bool)
  with ShardWriter(folder / shard_name("train", 0, 1)) as writer:
    for path in sorted(pictures.iterdir()):
      picture = read_picture(path)
      image = np.where(covered, np.uint8(90), picture)
      writer.write(
        dataclasses.replace(
          blank, video_id=path.stem, image=image, target=picture
        )
      )
  return str(folder)


def test_from_images_to_a_table(tiny_data, start, pictures, tmp_path):
  """Tuned-runwayml on frames; Tuned-stabilityai with a prior and its tower."""
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
  prior = PriorConfig(path=records_of(pictures, tmp_path / "class"))
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
      jax.tree.leaves(open_model(run).load([network]))
      for run in (start, tmp_path / name)
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
  assert dreambooth.diffusion_stage.batch_size == 1
  assert dreambooth.model.text is not None and dreambooth.model.train_text
