"""Steps, sharding, resumption, and what a run refuses."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.checkpoints.model import open_for_inference
from diffmvr_jax.config import MeshConfig, OptimizerConfig
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.frames import flatten_frames
from diffmvr_jax.runtime.mesh import AXES, AXIS_TYPES
from diffmvr_jax.runtime.processes import initialize
from diffmvr_jax.training.loop import train
from diffmvr_jax.training.optimizer import learning_rate, update_ema
from diffmvr_jax.training.progress import MetricLog, Progress
from diffmvr_jax.training.sharding import make_mesh, state_shardings


def leaves(workdir):
  stored = open_for_inference(workdir)
  params, step = stored.load(), stored.step
  return step, jax.tree.leaves_with_path(params)


def with_steps(config, autoencoder, diffusion):
  return dataclasses.replace(
    config,
    autoencoder_stage=dataclasses.replace(
      config.autoencoder_stage, steps=autoencoder
    ),
    diffusion_stage=dataclasses.replace(
      config.diffusion_stage, steps=diffusion
    ),
  )


def test_training_leaves_a_log_and_finite_losses(tiny_checkpoint, tiny_config):
  for stage, steps in (("autoencoder", 4), ("diffusion", 6)):
    lines = (tiny_checkpoint / f"{stage}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    assert all(np.isfinite(list(row.values())).all() for row in rows)
  assert {"denoising", "motion", "grad_norm"} <= rows[-1].keys()
  weight = tiny_config.diffusion_stage.motion.weight
  total = rows[-1]["denoising"] + weight * rows[-1]["motion"]
  assert rows[-1]["loss"] == pytest.approx(total, rel=1e-5)


def test_an_interrupted_run_ends_bit_for_bit_the_same(
  tiny_checkpoint, tiny_config, tmp_path, capsys
):
  train(with_steps(tiny_config, 4, 3), tmp_path)
  assert leaves(tmp_path)[0] == 3
  train(tiny_config, tmp_path)
  assert "warning" not in capsys.readouterr().err
  step, resumed = leaves(tmp_path)
  assert step == 6
  _, whole = leaves(tiny_checkpoint)
  for (path, one), (_, other) in zip(resumed, whole, strict=True):
    assert (np.asarray(one) == np.asarray(other)).all(), path


def test_a_finished_run_is_not_repeated(tiny_checkpoint, tiny_config):
  before = (tiny_checkpoint / "diffusion.jsonl").read_text()
  train(tiny_config, tiny_checkpoint)
  assert (tiny_checkpoint / "diffusion.jsonl").read_text() == before


def test_the_diffusion_stage_trains_only_its_own(tiny_checkpoint, tiny_config):
  params = open_for_inference(tiny_checkpoint).load()
  scale = float(params["scaling_factor"])
  assert scale > 0 and scale != 1  # measured, not the placeholder
  assert set(params) == {
    "autoencoder",
    "clip",
    "guidance",
    "scaling_factor",
    "unet",
  }


def test_a_checkpoint_of_another_config_is_refused(
  tiny_checkpoint, tiny_config, tmp_path
):
  shutil.copytree(tiny_checkpoint, tmp_path / "run")
  other = dataclasses.replace(tiny_config, seed=5)
  with pytest.raises(InputError, match="seed is 0 there and 5 here"):
    train(other, tmp_path / "run")
  assert leaves(tmp_path / "run")[0] == 6  # still readable


def test_a_folder_without_checkpoint_is_refused(tmp_path):
  with pytest.raises(InputError, match="no trained or imported"):
    open_for_inference(tmp_path)
  (tmp_path / "diffusion").mkdir()
  with pytest.raises(InputError, match="no finished checkpoint"):
    open_for_inference(tmp_path)


def test_a_damaged_record_ends_the_run_with_its_name(
  tiny_config, tiny_data, tmp_path
):
  data = tmp_path / "data"
  shutil.copytree(tiny_data, data)
  for shard in RecordSource(data, "train").shards:
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2 :: 500] = b"x" * len(
      damaged[len(damaged) // 2 :: 500]
    )
    shard.write_bytes(damaged)
  config = dataclasses.replace(
    tiny_config, data=dataclasses.replace(tiny_config.data, path=str(data))
  )
  with pytest.raises(InputError, match=r"tfrecord-.*: record \d+ at byte"):
    train(with_steps(config, 40, 0), tmp_path / "run")


def test_a_metric_that_is_not_finite_stops_the_run(tmp_path):
  log = MetricLog(tmp_path, "stage", 0)
  progress = Progress(
    "stage", start=0, total=2, windows=1, flops=0.0, log=log, every=1
  )
  with (
    log,
    progress,
    pytest.raises(FloatingPointError, match="motion is nan at"),
  ):
    progress.report(1, {"loss": 1.0, "motion": float("nan")})


def test_ema_follows_slowly_after_its_warm_up():
  ema = {"w": jnp.zeros(())}
  params = {"w": jnp.ones(())}
  early = update_ema(ema, params, jnp.int32(0), 0.99)["w"]
  late = update_ema(ema, params, jnp.int32(10**6), 0.99)["w"]
  np.testing.assert_allclose(early, 0.9, rtol=1e-6)
  np.testing.assert_allclose(late, 0.01, rtol=1e-4)


def test_learning_rate_warms_up():
  config = OptimizerConfig(learning_rate=1.0, warmup_steps=10)
  schedule = learning_rate(config, 100)
  np.testing.assert_allclose(schedule(5), 0.5)
  np.testing.assert_allclose(schedule(50), 1.0)
  cosine = dataclasses.replace(config, decay="cosine")
  np.testing.assert_allclose(learning_rate(cosine, 100)(100), 0.0, atol=1e-6)
  at_once = dataclasses.replace(config, warmup_steps=0)
  assert learning_rate(at_once, 100)(0) == 1.0


def test_mesh_that_does_not_fit_is_refused():
  with pytest.raises(InputError, match="does not fit"):
    make_mesh(MeshConfig(data=3, frame=1, fsdp=-1))


def test_only_large_leaves_are_sharded():
  mesh = jax.sharding.AbstractMesh((1, 1, 4), ("data", "frame", "fsdp"))
  shapes = {
    "large": jax.ShapeDtypeStruct((3, 3, 1280, 640), jnp.float32),
    "small": jax.ShapeDtypeStruct((64, 64), jnp.float32),
    "odd": jax.ShapeDtypeStruct((1025, 1027), jnp.float32),
  }
  specs = {k: v.spec for k, v in state_shardings(shapes, mesh).items()}
  assert specs["large"] == jax.P(None, None, "fsdp")
  assert specs["small"] == specs["odd"] == jax.P()


@pytest.mark.parametrize(("windows", "spread"), [(8, True), (1, False)])
def test_images_are_spread_where_they_divide(windows, spread):
  """A part of an accumulated batch can be too small for the devices."""
  mesh = jax.sharding.AbstractMesh((1, 4, 2), AXES, axis_types=AXIS_TYPES)
  images = jax.ShapeDtypeStruct((windows, 4, 2), jnp.float32)
  with jax.sharding.use_abstract_mesh(mesh):
    program = jax.make_jaxpr(flatten_frames)(images)
  assert ("sharding_constraint" in str(program)) == spread


def test_a_resumed_log_has_every_step_once(tmp_path):
  path = tmp_path / "x.jsonl"
  lines = [json.dumps({"step": i, "loss": 1.0}) + "\n" for i in range(1, 6)]
  path.write_text("".join(lines) + '{"step": 6, "lo')  # cut by a kill
  with (
    MetricLog(tmp_path, "x", 3) as log,
    Progress(
      "x", start=3, total=9, windows=1, flops=0.0, log=log, every=1
    ) as progress,
  ):
    progress.report(4, {"loss": 2.0})
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert [row["step"] for row in rows] == [1, 2, 3, 4]
  assert rows[-1]["loss"] == 2.0
  assert 0 <= rows[-1]["data_wait"] <= 1


def test_processes_need_an_address():
  with pytest.raises(InputError, match="JAX_COORDINATOR_ADDRESS"):
    initialize({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"})
  initialize({"SLURM_STEP_NUM_TASKS": "1"})  # alone: nothing to do
