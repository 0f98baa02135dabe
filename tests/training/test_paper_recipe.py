"""What `configs/paper.py` and the text baselines ask of the code, small."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmvr_jax.config import check, load_config, override, trained_networks
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.sampling import restore_images
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.training.inputs import encode_images
from diffmvr_jax.training.objectives import draw, loss_terms
from tests.models.test_diffmvr import initial, observation

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = (
  "diffusion.variable=masked",
  "sampling.start=masked",
  "model.mask_conditioning=none",
  "model.unet.in_channels=4",
  "model.guidance.towers=separate",
  "model.guidance.tokens=pooled",
  "model.guidance.encoder=clip",
  "diffusion_stage.motion.on=noisy",
  "diffusion_stage.motion.relative_to=zero",
)


def changed(config, *assignments):
  for assignment in assignments:
    config = override(config, assignment)
  check(config)
  return config


@pytest.fixture(scope="module")
def paper(tiny_config):
  config = changed(tiny_config, *PAPER)
  model = DiffMVR.of(config)
  return config, model, initial(model)


def batch_of(seed=0):
  seen = vars(observation(seed))
  batch = {k: v for k, v in seen.items() if v is not None}
  return batch | {"target": observation(seed + 1).frame}


def test_every_departure_of_the_docstring_is_an_override():
  text = (CONFIGS / "paper.py").read_text().split('"""')[1]
  assignments = [
    word
    for line in text.splitlines()
    if line.startswith("  ") and "=" in line and "--" not in line
    for word in line.split()
    if "=" in word and word.split("=")[0].count(".") and "START" not in word
  ]
  assert len(assignments) >= 10
  printed = load_config(CONFIGS / "paper.py")
  ours = load_config(CONFIGS / "paper.py", assignments)
  assert ours.diffusion.variable == "target" != printed.diffusion.variable
  assert ours.sampling.steps == 50
  for assignment in assignments:
    key, _, _ = assignment.partition("=")
    one, other = ours, printed
    for name in key.split("."):
      one, other = getattr(one, name), getattr(other, name)
    assert one != other, key


def test_the_printed_loss_knows_no_truth(paper):
  """Noise is added to the masked frame's latents; nothing else is learned."""
  config, model, params = paper
  keys = jax.random.split(jax.random.key(0), 1)
  draws = draw(config, keys, (2, 8, 8, 4), 0.0)

  @partial(jax.jit, static_argnums=0)
  def losses(variable, batch):
    diffusion = dataclasses.replace(config.diffusion, variable=variable)
    settings = dataclasses.replace(config, diffusion=diffusion)
    sample = encode_images(model)(params, batch)
    return loss_terms(model, settings, params, sample, draws)

  batch = batch_of()
  other = batch | {"target": 255 - batch["target"]}
  for one, two in zip(
    losses("masked", batch), losses("masked", other), strict=True
  ):
    np.testing.assert_array_equal(one, two)
  for one, two in zip(
    losses("target", batch), losses("target", other), strict=True
  ):
    assert not np.array_equal(one, two)


def test_sampling_starts_from_the_noised_masked_latents(paper):
  """A network that says nothing leaves what it started from."""
  config, _, params = paper
  unet = params["unet"]
  silent = jax.tree.map(jnp.zeros_like, unet["conv_out"])
  params = params | {"unet": unet | {"conv_out": silent}}
  schedule = make_schedule(config.diffusion)
  index = jnp.arange(2)[None]

  def images(start):
    sampling = dataclasses.replace(config.sampling, start=start, steps=1)
    program = jax.jit(partial(restore_images, config.model, sampling))
    key = jax.random.key(0)
    return [
      np.asarray(program(params, schedule, observation(seed), key, index))
      for seed in (0, 5)
    ]

  np.testing.assert_array_equal(*images("noise"))
  one, other = images("masked")
  assert not np.allclose(one, other, atol=1e-3)


def test_separate_towers_see_their_own_image(paper):
  config, model, params = paper
  assert {"clip", "clip_past"} <= params.keys()
  assert trained_networks(config)[-2:] == ("clip", "clip_past")
  context = jax.jit(lambda p: model.condition(p, observation()).context)
  before = context(params)
  after = context(
    params | {"clip_past": jax.tree.map(lambda x: 1.1 * x, params["clip_past"])}
  )
  np.testing.assert_array_equal(before["symmetric"], after["symmetric"])
  assert not np.array_equal(before["past"], after["past"])


def test_dropped_text_is_the_empty_prompt(tiny_config):
  config = changed(
    tiny_config, "model.unet.branches=['text']", "model.unet.alpha=[1.0]"
  )
  model = DiffMVR.of(config)
  params = initial(model)

  @jax.jit
  def context(told):
    encoded = model.observe(params, observation())
    keep = {"text": told}
    return model.contextualise(params, encoded, keep).context["text"]

  prompt, empty, _ = params["prompts"]
  np.testing.assert_array_equal(context(jnp.array([True]))[0], prompt)
  np.testing.assert_array_equal(context(jnp.array([False]))[1], empty)


@pytest.mark.parametrize(
  ("assignments", "message"),
  [
    (["model.train_text=True"], "train_text needs model.text"),
    (
      ["diffusion_stage.prior={'path': 'x', 'weight': 1.0}"],
      "prior needs a text branch",
    ),
    (
      ["diffusion.anchor=propagated", "diffusion.prediction=sample"],
      "variable=masked does not go with a diffusion.anchor",
    ),
  ],
)
def test_contradictions_are_refused(assignments, message, tiny_config):
  with pytest.raises(InputError, match=message):
    changed(tiny_config, "diffusion.variable=masked", *assignments)
