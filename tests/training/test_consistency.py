"""Distillation: its loss against a plain reading of the paper, and a run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import distill_lcm
from diffmvr_jax.checkpoints.model import open_for_inference
from diffmvr_jax.checkpoints.training_state import TEACHER
from diffmvr_jax.config import DiffusionConfig, check
from diffmvr_jax.diffusion.samplers import consistency_weights
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.models.observation import Encoded
from diffmvr_jax.training.consistency import consistency_loss, with_teacher
from diffmvr_jax.training.inputs import Sample
from diffmvr_jax.training.loop import train
from diffmvr_jax.training.objectives import draw


def student_of(config, workdir, **stage):
  """The config of a distillation of what is in a workdir."""
  config = distill_lcm.distilled(config, str(workdir))
  settings = {"steps": 3, "batch_size": 2, **stage}
  changed = dataclasses.replace(config.diffusion_stage, **settings)
  return dataclasses.replace(config, diffusion_stage=changed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(DiffMVR):
  """A "network" whose clean latents are its one parameter times z."""

  diffusion: DiffusionConfig

  def contextualise(self, params, encoded, keep=None):
    del params, keep
    return encoded

  def predict(self, params, noisy, timesteps, conditioning):
    del conditioning
    a = make_schedule(self.diffusion).alphas_cumprod[timesteps]
    a = a[:, None, None, None]
    clean = params["unet"]["gain"] * noisy
    return (noisy - jnp.sqrt(a) * clean) / jnp.sqrt(1 - a)


def test_the_loss_is_the_papers(tiny_config):
  config = student_of(tiny_config, "nowhere", mask_weight=1.0)
  model = Linear(config=config.model, diffusion=config.diffusion)
  rng = np.random.default_rng(0)
  latents = jnp.asarray(rng.standard_normal((6, 8, 8, 4)), jnp.float32)
  encoded = Encoded(
    mask=jnp.zeros((6, 8, 8, 1)), masked_latents=latents, features={}, exists={}
  )
  sample = Sample(
    mean=latents, deviation=jnp.zeros_like(latents), encoded=encoded
  )
  loss = consistency_loss(model, config, lambda params, batch: sample)
  keys = jax.random.split(jax.random.key(3), 2)
  params = {"unet": {"gain": jnp.float32(0.7)}, TEACHER: {"gain": 0.9}}
  value, metrics = loss(params, {}, keys, jnp.int32(0))

  draws = draw(config, keys, (3, 8, 8, 4), 0.0)
  alphas = np.append(make_schedule(config.diffusion).alphas_cumprod, 1.0)
  expected = []
  for window in range(2):
    place = int(draws.timesteps[window]) // 250  # the grid has 4 of 1000
    high = 250 * place + 249
    low = high - 250 if place else -1
    for frame in range(3):
      clean = np.asarray(latents[3 * window + frame], np.float64)
      noise = np.asarray(draws.noise[window, frame], np.float64)
      z = alphas[high] ** 0.5 * clean + (1 - alphas[high]) ** 0.5 * noise
      guess = 0.9 * z
      epsilon = (z - alphas[high] ** 0.5 * guess) / (1 - alphas[high]) ** 0.5
      step = alphas[low] ** 0.5 * guess + (1 - alphas[low]) ** 0.5 * epsilon
      target = step
      if low >= 0:
        skip, out = map(float, consistency_weights(jnp.array(low)))
        target = skip * step + out * 0.7 * step
      skip, out = map(float, consistency_weights(jnp.array(high)))
      error = np.mean((skip * z + out * 0.7 * z - target) ** 2)
      expected.append((error + 1e-6) ** 0.5 - 1e-3)
  assert float(value) == pytest.approx(np.mean(expected), rel=1e-4)
  assert set(metrics) == {"loss", "squared"}

  def of_gain(gain):
    return loss(params | {"unet": {"gain": gain}}, {}, keys, jnp.int32(0))[0]

  # The right-hand side is a constant: only the left one is pushed.
  step = 1e-3
  slope = (of_gain(0.7 + step) - of_gain(0.7 - step)) / (2 * step)
  assert abs(float(jax.grad(of_gain)(0.7)) - float(slope)) > 1e-3


def test_the_teacher_is_a_copy_that_stays(
  tiny_config, tiny_checkpoint, tmp_path
):
  config = student_of(tiny_config, tiny_checkpoint)
  train(config, tmp_path)
  teacher = open_for_inference(tiny_checkpoint).load()
  stored = open_for_inference(tmp_path)
  student = stored.load()
  assert TEACHER not in student
  for name in ("guidance", "clip", "autoencoder"):
    jax.tree.map(np.testing.assert_array_equal, teacher[name], student[name])
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), teacher["unet"], student["unet"]
  )
  assert any(jax.tree.leaves(moved))
  restorer = CropRestorer.from_checkpoint(tmp_path, ["sampling.steps=2"])
  assert restorer.config.sampling.sampler == "lcm"
  params = with_teacher(teacher)
  jax.tree.map(np.testing.assert_array_equal, params[TEACHER], params["unet"])


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"init_from": None}, "needs init_from"),
    ({"validation": {"every": 5}}, "validation.every=0"),
    ({"diffusion_stage": {"consistency": {"grid": 7}}}, "does not divide"),
  ],
)
def test_what_does_not_go_together_is_refused(changes, said, tiny_config):
  config = student_of(tiny_config, "teacher")
  for name, value in changes.items():
    config = dataclasses.replace(
      config, **{name: replaced(getattr(config, name), value)}
    )
  with pytest.raises(InputError, match=said):
    check(config)


def replaced(old, new):
  if not isinstance(new, dict):
    return new
  inner = {k: replaced(getattr(old, k), v) for k, v in new.items()}
  return dataclasses.replace(old, **inner)


def test_the_model_has_no_other_parameters(tiny_config):
  """So that a student is stored, exported and loaded as any model is."""
  model = DiffMVR(config=student_of(tiny_config, "teacher").model)
  shapes = model.shapes(32)
  assert TEACHER not in shapes
