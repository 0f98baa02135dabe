"""The fusion stage, and the anchored diffusion stage that follows it."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax import pretrained
from diffmvr_jax.checkpoints.model import (
  open_for_inference,
  open_model,
  save_model,
)
from diffmvr_jax.config import FusionStageConfig, OptimizerConfig, check
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import WindowSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.training.fusion_loss import gradient_error, masked_psnr
from diffmvr_jax.training.initial import initial_params, measure_residual_scale
from diffmvr_jax.training.inputs import image_shapes
from diffmvr_jax.training.loop import train
from diffmvr_jax.weights.shipping import write_pretrained
from tests.aligned import SOURCES, anchored, arrays, tiny_fusion


@pytest.fixture(scope="module", autouse=True)
def windows_that_can_be_learned_from():
  """The guess under the mask is too dark, the sources are right."""
  read = WindowSource.read

  def read_changed(self, indices, flips):
    batch = read(self, indices, flips)
    target = batch["target"]
    changed = {
      "propagated": target // 2,
      "sources": np.repeat(target[:, :, None], SOURCES, 2),
    }
    for name in ("source_known", "source_flow", "source_valid"):
      if name in batch:
        like = np.zeros_like if name == "source_flow" else np.ones_like
        changed[name] = like(batch[name])
    return batch | {k: v for k, v in changed.items() if k in batch}

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(WindowSource, "read", read_changed)
    yield


@pytest.fixture(scope="module")
def data(tiny_data, tmp_path_factory):
  """The drawn records, with the held-out person for validation."""
  folder = tmp_path_factory.mktemp("fusion") / "records"
  shutil.copytree(tiny_data, folder)
  for path in folder.glob("diffmvr-test*"):
    path.rename(folder / path.name.replace("-test", "-validation"))
  return folder


@pytest.fixture(scope="module")
def config(tiny_config, data):
  optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=0, ema_decay=0.5)
  tiny_data = dataclasses.replace(tiny_config.data, path=str(data))
  config = anchored(
    dataclasses.replace(tiny_config, data=tiny_data),
    "fused",
    concat=("propagated", "past"),
    fusion_stage=FusionStageConfig(
      steps=6, batch_size=4, validate_batches=1, optimizer=optimizer
    ),
    autoencoder_stage=dataclasses.replace(
      tiny_config.autoencoder_stage, steps=0
    ),
    diffusion_stage=dataclasses.replace(tiny_config.diffusion_stage, steps=2),
  )
  model = dataclasses.replace(
    config.model,
    fusion=tiny_fusion(flow_components=4),
    autoencoder=dataclasses.replace(
      config.model.autoencoder, scaling_factor=1.0
    ),
  )
  config = dataclasses.replace(config, model=model)
  check(config)
  return config


@pytest.fixture(scope="module")
def workdir(config, tmp_path_factory):
  folder = tmp_path_factory.mktemp("fused") / "run"
  train(config, folder)
  return folder


def rows(folder, name):
  text = (folder / f"{name}.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def with_steps(config, fusion, diffusion):
  return dataclasses.replace(
    config,
    fusion_stage=dataclasses.replace(config.fusion_stage, steps=fusion),
    diffusion_stage=dataclasses.replace(
      config.diffusion_stage, steps=diffusion
    ),
  )


def test_fusion_starts_as_propagation_and_learns_to_be_better(workdir):
  log = rows(workdir, "fusion")
  assert log[0]["gain"] == pytest.approx(0, abs=1e-3)
  assert log[-1]["gain"] > 0.1
  (last,) = rows(workdir, "fusion_validation")
  assert last["step"] == 6
  assert last["gain"] > 0.1
  gain = last["psnr"] - last["psnr of propagation"]
  assert last["gain"] == pytest.approx(gain, abs=1e-3)


def test_the_diffusion_stage_keeps_fusion_and_measures_its_residual(
  workdir, config
):
  params = open_for_inference(workdir).load()
  assert np.abs(params["fusion"]["fine_out"]["kernel"]).max() > 0
  assert np.abs(params["flow_prior"]["components"]).max() > 0
  records = RecordSource(config.data.path, "train")
  windows = WindowSource(
    records, window=3, stride=1, image_size=32, arrays=tuple(arrays())
  )
  model = DiffMVR.of(config)
  again = measure_residual_scale(
    model, params | {"residual_scale": jnp.float32(9)}, config, windows
  )
  scale = float(params["residual_scale"])
  assert 1e-3 < scale != 1
  assert float(again["residual_scale"]) == pytest.approx(scale, rel=1e-4)


def test_an_interrupted_fusion_ends_bit_for_bit_the_same(
  workdir, config, tmp_path
):
  train(with_steps(config, 3, 0), tmp_path)
  (tmp_path / "diffusion").rename(tmp_path / "not-yet")
  train(config, tmp_path)
  one = jax.tree.leaves_with_path(open_for_inference(tmp_path).load())
  whole = jax.tree.leaves_with_path(open_for_inference(workdir).load())
  for (path, value), (_, other) in zip(one, whole, strict=True):
    assert (np.asarray(value) == np.asarray(other)).all(), path


def alone(config, **changes):
  """The anchor without a diffusion stage."""
  config = with_steps(config, 2, 0)
  sampling = dataclasses.replace(config.sampling, steps=0)
  return dataclasses.replace(config, sampling=sampling, **changes)


def test_an_anchor_alone_is_trained_and_fine_tuned(
  workdir, config, tmp_path, monkeypatch
):
  """Without U-Net; from a file, the fusion goes on where it was."""
  file = tmp_path / "fused8.safetensors"
  shutil.copytree(workdir / "fusion", tmp_path / "early" / "fusion")
  for source in (workdir, tmp_path / "early"):  # the last stage, or before it
    write_pretrained(source, file, ["sampling.steps=0"])
    saved = open_model(file)
    assert saved.config.sampling.steps == saved.config.diffusion_stage.steps
  monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
  again = tmp_path / "again"
  train(alone(config, init_from="pretrained:fused8"), again)
  assert not (again / "diffusion").exists()
  assert rows(again, "fusion")[0]["gain"] > 0.1
  tuned = open_for_inference(again)
  assert set(tuned.shapes) == {"fusion", "flow_prior"}
  prior, before = tuned.load()["flow_prior"], saved.load()["flow_prior"]
  for name, value in prior.items():
    np.testing.assert_array_equal(value, before[name])
  with pytest.raises(InputError, match=r"begun without a U-Net .*init_from="):
    train(config, again)
  with pytest.raises(InputError, match=r"diffusion_stage\.steps: all are 0"):
    none = dataclasses.replace(config.fusion_stage, steps=0)
    train(alone(config, fusion_stage=none), tmp_path / "nothing")


def test_an_anchor_alone_trains_no_autoencoder(config):
  stage = dataclasses.replace(config.autoencoder_stage, steps=1)
  with pytest.raises(InputError, match=r"without a U-Net nothing is encoded"):
    check(alone(config, autoencoder_stage=stage))


def test_shapes_of_a_batch_are_what_windows_have(config):
  shapes = image_shapes(config, (1, 2))
  for name, value in arrays().items():
    assert (shapes[name].shape, shapes[name].dtype) == (
      value.shape,
      value.dtype,
    )


def test_a_model_without_an_anchor_starts_as_the_anchor(tiny_config, tmp_path):
  """Its input is widened by zeros, its last convolution begins at zero."""
  params = DiffMVR.of(tiny_config).shapes(32)
  ones = jax.tree.map(lambda x: jnp.full(x.shape, 0.5, x.dtype), params)
  save_model(tmp_path, tiny_config, {"unet": ones["unet"]})
  config = anchored(tiny_config, init_from=str(tmp_path))
  started = initial_params(DiffMVR.of(config), config, jax.random.key(0))
  kernel = started["unet"]["conv_in"]["kernel"]
  assert kernel.shape[2] == 14
  assert (kernel[:, :, :9] == 0.5).all()
  assert (kernel[:, :, 9:] == 0).all()
  assert (started["unet"]["conv_out"]["kernel"] == 0).all()
  assert (started["unet"]["conv_out"]["bias"] == 0).all()
  own = {"unet": started["unet"], "residual_scale": jnp.float32(2)}
  save_model(tmp_path / "own", config, own)
  again = initial_params(
    DiffMVR.of(config),
    dataclasses.replace(config, init_from=str(tmp_path / "own")),
    jax.random.key(0),
  )
  assert float(again["residual_scale"]) == 2


def test_edges_and_psnr_of_the_mask():
  truth = jnp.zeros((1, 16, 16, 3))
  mask = jnp.zeros((1, 16, 16, 1)).at[:, 4:8, 4:8].set(1)
  image = truth + 0.2
  np.testing.assert_allclose(masked_psnr(image, truth, mask), 20, rtol=1e-3)
  assert float(masked_psnr(truth + 0.2 * (1 - mask), truth, mask)[0]) > 59
  step = truth.at[:, :, 6:].set(1.0)
  assert float(gradient_error(step, truth, mask)[0]) > 0.1
