"""What a window's restoration is made of, against slower, plainer ways."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from diffmvr_jax.config import AutoencoderConfig, check
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference import sampling as module
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.sampling import Region, restore_window
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.models.frames import to_uint8
from diffmvr_jax.models.tiny_vae import TinyDecoder
from diffmvr_jax.weights import taesd_keys
from tests.models.test_diffmvr import initial, observation

INDEX = jnp.arange(2)[None]


@pytest.fixture(scope="module")
def model(tiny_config):
  model = DiffMVR(config=tiny_config.model)
  return model, initial(model)


def sampling_of(tiny_config, **changes):
  return dataclasses.replace(tiny_config.sampling, **changes)


def window_of(seen):
  """The arrays of the first window, without those that are not there."""
  return {k: np.array(v[0]) for k, v in vars(seen).items() if v is not None}


def restored(config, sampling, params, seen, **given):
  program = jax.jit(partial(restore_window, config.model, sampling))
  schedule = make_schedule(config.diffusion)
  key = jax.random.key(0)
  return np.asarray(program(params, schedule, seen, key, INDEX, **given))


def test_keys_and_values_made_once_give_what_tokens_give(model):
  """To the last bit but one: the same products, in another program."""
  network, params = model
  seen = observation(symmetric=False)
  noisy = jnp.ones((2, 8, 8, 4))
  steps = jnp.zeros(2, jnp.int32)

  @jax.jit
  def both(params):
    conditioning = network.condition(params, seen)
    made = {
      name: network.attended(params, name, tokens)
      for name, tokens in conditioning.context.items()
    }
    return (
      network.predict(params, noisy, steps, conditioning),
      network.predict(params, noisy, steps, conditioning.replace(context=made)),
    )

  plain, ready = both(params)
  np.testing.assert_allclose(ready, plain, rtol=1e-5, atol=1e-6)
  assert np.abs(plain).max() > 0.01


@pytest.mark.parametrize("past", [True, False])
def test_the_restorer_reuses_past_frames(past, tiny_config, model, monkeypatch):
  """Each is encoded once, and gives what the window's own program gives."""
  _, params = model
  seen = observation(past=past)
  # Both frames have the first's past.
  seen = seen.replace(past=jnp.repeat(seen.past[:, :1], 2, 1))
  restorer = CropRestorer(tiny_config, params)
  encoded = []
  guide = restorer._past_frames._keys_values
  monkeypatch.setattr(
    restorer._past_frames,
    "_keys_values",
    lambda p, x, v: encoded.append(len(x)) or guide(p, x, v),
  )
  window = window_of(seen)
  index = np.arange(2)
  one = restorer.fill(window, index, 0)
  other = restorer.fill(window, index, 0)
  assert encoded == [1]
  np.testing.assert_array_equal(one, other)
  window["past"] = window["past"][::-1] // 2
  changed = restorer.fill(window, index, 0)
  assert encoded == ([1, 1] if past else [1])
  assert (changed != one).any() == past
  plain = restored(tiny_config, tiny_config.sampling, params, seen)[0]
  assert np.abs(plain.astype(int) - one).max() <= 1


def test_strength_moves_away_from_the_unguided(tiny_config, model):
  """Formula (a) for one step from noise, where the result is linear in it."""
  _, params = model
  step = partial(sampling_of, tiny_config, steps=1)
  seen = observation()
  blind = seen.replace(past_valid=jnp.zeros_like(seen.past_valid))
  run = partial(restored, tiny_config, params=params, seen=seen)
  own = run(step()).astype(float)
  np.testing.assert_array_equal(run(step(guidance=(1.0, 1.0))), own)
  without = restored(tiny_config, step(), params, blind).astype(float)
  none = run(step(guidance=(1.0, 0.0)))
  assert np.abs(none - without).max() <= 1
  assert (none != own).any()


def test_strength_of_the_only_branch_uses_the_null_token(tiny_config):
  unet = dataclasses.replace(
    tiny_config.model.unet, branches=("past",), alpha=(1.0,)
  )
  config = dataclasses.replace(
    tiny_config, model=dataclasses.replace(tiny_config.model, unet=unet)
  )
  params = initial(DiffMVR.of(config))
  seen = observation()
  blind = seen.replace(past_valid=jnp.zeros_like(seen.past_valid))
  one = sampling_of(config, steps=1)
  nothing = dataclasses.replace(one, guidance=(0.0,))
  np.testing.assert_array_equal(
    restored(config, nothing, params, seen),
    restored(config, one, params, blind),
  )


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"guidance": (2.0,)}, "one strength per entry"),
    ({"start_at": 0.0}, "start_at"),
    ({"steps": 0}, "at least 1"),
  ],
)
def test_wrong_settings_are_refused(changes, said, tiny_config):
  sampling = sampling_of(tiny_config, **changes)
  with pytest.raises(InputError, match=said):
    check(dataclasses.replace(tiny_config, sampling=sampling))


def test_a_start_from_the_past_restoration_takes_its_share_of_steps(
  tiny_config, model, monkeypatch
):
  _, params = model
  taken = []
  original = DiffMVR.predict

  def counted(self, params, noisy, timesteps, conditioning):
    jax.debug.callback(lambda t: taken.append(int(t[0])), timesteps)
    return original(self, params, noisy, timesteps, conditioning)

  monkeypatch.setattr(DiffMVR, "predict", counted)
  sampling = sampling_of(tiny_config, steps=4, start_at=0.5)
  previous = jnp.full((32, 32, 3), 200, jnp.uint8)
  restored(tiny_config, sampling, params, observation())
  jax.effects_barrier()
  assert taken == [999, 749, 499, 249]
  taken.clear()
  begun = restored(
    tiny_config, sampling, params, observation(), previous=previous
  )
  jax.effects_barrier()
  assert taken == [499, 249]
  other = restored(
    tiny_config, sampling, params, observation(), previous=previous // 4
  )
  assert (begun != other).any()


def test_a_stream_starts_from_the_frame_before(tiny_config, model):
  _, params = model
  sampling = sampling_of(tiny_config, start_at=0.5)
  config = dataclasses.replace(tiny_config, sampling=sampling)
  restorer = CropRestorer(config, params)
  window = window_of(observation())
  index = np.arange(2)
  fresh = restorer.fill(window, index, 0)
  begun = restorer.fill(window, index, 0, previous=fresh[-1])
  assert (fresh != begun).any()


def test_a_small_mask_is_restored_in_a_smaller_window(
  tiny_config, model, monkeypatch
):
  _, params = model
  sampling = sampling_of(tiny_config, region="mask")
  config = dataclasses.replace(tiny_config, sampling=sampling)
  restorer = CropRestorer(config, params)
  sizes = []
  program = restorer._program

  def watched(params, schedule, seen, **rest):
    sizes.append(seen.frame.shape[2:4])
    return program(params, schedule, seen, **rest)

  monkeypatch.setattr(restorer, "_program", watched)
  window = window_of(observation())
  for top, side, seen in ((20, 8, 16), (3, 18, 24), (0, 30, 32)):
    window["mask"][:] = 0
    window["mask"][:, top : top + side, 2 : 2 + side] = 1
    restored = restorer.fill(window, np.arange(2), 0)
    assert sizes[-1] == (seen, seen)
    inside = window["mask"][..., 0] > 0
    assert (restored[inside] != window["frame"][inside]).mean() > 0.9
    untouched = (restored == window["frame"]).all((0, 3))
    assert untouched.sum() >= (32**2 - seen**2) * 0.99


def test_a_region_has_the_noise_of_the_crop(tiny_config, model):
  """Without steps in between, the start alone decides."""
  _, params = model
  seen = observation()
  middle = np.s_[:, :, 8:24, 8:24]
  cut = seen.replace(frame=seen.frame[middle], mask=seen.mask[middle])
  started = []

  def keep(denoise, noisy, key, schedule, timesteps, **rest):
    started.append(noisy)
    return noisy

  sampling = sampling_of(tiny_config, sampler="ddim")
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(module._SAMPLERS, "ddim", keep)
    for observed, region in (
      (seen, None),
      (cut, Region(corner=jnp.array([2, 2]), side=8)),
    ):
      restore_window(
        tiny_config.model,
        sampling,
        params,
        make_schedule(tiny_config.diffusion),
        observed,
        jax.random.key(0),
        INDEX,
        region=region,
      )
  whole, part = started
  np.testing.assert_array_equal(part, whole[:, 2:6, 2:6])


def write_taesd(path, latent_channels, levels):
  """A decoder's file as TAESD's author lays it out, with random weights."""
  config = AutoencoderConfig(
    family="tiny",
    block_channels=(64,) * levels,
    layers_per_block=3,
    latent_channels=latent_channels,
  )
  decoder = TinyDecoder(config)
  latents = jnp.zeros((1, 8, 8, latent_channels))
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(decoder.init, jax.random.key(0), latents)["params"]
  params = jax.tree.map(
    lambda x: 0.05 * rng.standard_normal(x.shape, np.float32), shapes
  )
  leaves = {
    "/".join(str(k.key) for k in keys): leaf
    for keys, leaf in jax.tree.leaves_with_path({"decoder": params})
  }
  table = taesd_keys.half_table({"decoder": shapes}, "decoder")
  save_file(
    {e.name: np.ascontiguousarray(e.to_tensor(leaves[e.path])) for e in table},
    path,
  )
  return decoder, params


def test_a_tiny_decoder_decodes_in_the_models_place(
  tiny_checkpoint, tmp_path, monkeypatch
):
  path = tmp_path / "taesd_decoder.safetensors"
  monkeypatch.setenv("DIFFMVR_MODELS", str(tmp_path))
  monkeypatch.setenv("HOME", str(tmp_path))
  with pytest.raises(InputError, match=r"taesd_decoder.*put TAESD's decoder"):
    CropRestorer.from_checkpoint(tiny_checkpoint, decoder="tiny")
  decoder, params = write_taesd(path, latent_channels=4, levels=3)
  restorer = CropRestorer.from_checkpoint(tiny_checkpoint, decoder="tiny")
  assert "taesd_decoder.safetensors, SHA-256" in restorer.checkpoint
  seen = observation()
  window = window_of(seen)
  images = restorer.fill(window, np.arange(2), 0)
  own = CropRestorer.from_checkpoint(tiny_checkpoint)
  assert (own.fill(window, np.arange(2), 0) != images).any()

  # The same latents, decoded by hand.
  latents = []

  def kept(self, params, value):
    latents.append(value)
    return jnp.zeros((len(value), 32, 32, 3))

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(DiffMVR, "decode", kept)
    config = own.config
    restore_window(
      config.model,
      config.sampling,
      own._params,
      make_schedule(config.diffusion),
      seen,
      jax.random.key(0),
      INDEX,
    )
  by_hand = decoder.apply({"params": params}, latents[0])
  difference = np.asarray(to_uint8(by_hand)).astype(int) - images
  assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
  ("channels", "levels", "said"),
  [(16, 3, "decodes 16 latent channels"), (4, 2, "missing")],
)
def test_a_decoder_of_other_latents_is_refused(
  channels, levels, said, tiny_checkpoint, tmp_path
):
  path = tmp_path / "decoder.safetensors"
  write_taesd(path, channels, levels)
  with pytest.raises(InputError, match=said):
    CropRestorer.from_checkpoint(tiny_checkpoint, decoder=path)


def test_what_is_no_decoder_is_refused(tiny_checkpoint, tmp_path):
  path = tmp_path / "decoder.safetensors"
  save_file({"weight": np.zeros(3, np.float32)}, path)
  with pytest.raises(InputError, match="not a TAESD decoder"):
    CropRestorer.from_checkpoint(tiny_checkpoint, decoder=path)
