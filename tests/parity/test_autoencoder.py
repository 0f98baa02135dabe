import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from diffmvr_jax.config import AutoencoderConfig
from diffmvr_jax.media.video import read_frames
from diffmvr_jax.metrics.similarity import psnr
from diffmvr_jax.models.frames import to_float, to_uint8
from diffmvr_jax.models.tiny_vae import TinyAutoencoder
from diffmvr_jax.models.vae import Autoencoder
from diffmvr_jax.weights import diffusers_keys, taesd_keys
from diffmvr_jax.weights.assemble import match, nested
from diffmvr_jax.weights.files import open_tensors
from tests.parity.reference import params_of, randomize

TAESD = AutoencoderConfig(
  family="tiny",
  block_channels=(64,) * 4,
  layers_per_block=3,
  scaling_factor=1.0,
)


def shapes_of(vae):
  image = jnp.zeros((1, 64, 64, 3))
  return jax.eval_shape(vae.init, jax.random.key(0), image)["params"]


def nchw(x):
  return torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2)


def images(size):
  rng = np.random.default_rng(0)
  return rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)


def nhwc(x):
  return x.permute(0, 2, 3, 1).float().numpy()


def test_kl_autoencoder_equals_diffusers(full, compare):
  channels = (128, 256, 512, 512) if full else (32, 32, 64, 64)
  config = AutoencoderConfig(block_channels=channels)
  reference = randomize(
    AutoencoderKL(
      block_out_channels=channels,
      down_block_types=["DownEncoderBlock2D"] * 4,
      up_block_types=["UpDecoderBlock2D"] * 4,
      layers_per_block=2,
      latent_channels=4,
    )
  )
  table = diffusers_keys.autoencoder(shapes_of(Autoencoder(config)))
  variables = {"params": params_of(table, reference.state_dict())}
  image = images(128 if full else 64)
  moments = reference.encode(nchw(image)).latent_dist
  noise = np.random.default_rng(1).standard_normal(
    nhwc(moments.mean).shape, np.float32
  )
  sample = moments.mean + moments.std * nchw(noise)
  decoded = nhwc(reference.decode(sample).sample)
  reference.to(torch.bfloat16)
  rounded = reference.encode(nchw(image).bfloat16()).latent_dist
  rounded_decoded = nhwc(reference.decode(sample.bfloat16()).sample)

  def run(dtype):
    vae = Autoencoder(config, dtype)
    encode = jax.jit(lambda v, x: vae.apply(v, x, method="encode"))
    decode = jax.jit(lambda v, x: vae.apply(v, x, method="decode"))
    return *encode(variables, image), decode(variables, nhwc(sample))

  mean, log_variance, image_again = run(jnp.float32)
  ours = mean + jnp.exp(0.5 * log_variance) * noise
  compare("KL encoder, mean", mean, nhwc(moments.mean), 1e-5)
  compare("KL encoder, log-variance", log_variance, nhwc(moments.logvar), 1e-5)
  compare("KL encoder, sample", ours, nhwc(sample), 1e-5)
  compare("KL decoder", image_again, decoded, 1e-5)
  for part, ours, expected, peer in zip(
    ("encoder, mean", "encoder, log-variance", "decoder"),
    run(jnp.bfloat16),
    (nhwc(moments.mean), nhwc(moments.logvar), decoded),
    (nhwc(rounded.mean), nhwc(rounded.logvar), rounded_decoded),
    strict=True,
  ):
    compare(f"KL {part}, bf16", ours, expected, 1e-2, peer)


@pytest.mark.parametrize("latent_channels", [4, 32])
def test_tiny_autoencoder_equals_diffusers(latent_channels, full, compare):
  width = 64 if full else 16
  reference = randomize(
    AutoencoderTiny(
      encoder_block_out_channels=(width,) * 4,
      decoder_block_out_channels=(width,) * 4,
      latent_channels=latent_channels,
    )
  )
  config = AutoencoderConfig(
    family="tiny",
    block_channels=(width,) * 4,
    layers_per_block=3,
    latent_channels=latent_channels,
    scaling_factor=1.0,
  )
  vae = TinyAutoencoder(config)
  variables = {
    "params": params_of(
      diffusers_keys.autoencoder(shapes_of(vae)), reference.state_dict()
    )
  }
  image = images(128 if full else 64)
  expected = reference.encode(nchw(image)).latents
  latents = jax.jit(lambda v, x: vae.apply(v, x, method="encode")[0])(
    variables, image
  )
  name = f"TAESD, {latent_channels} latent channels"
  compare(f"{name}, encoder", latents, expected.permute(0, 2, 3, 1), 1e-5)
  decoded = jax.jit(lambda v, x: vae.apply(v, x, method="decode"))(
    variables, latents
  )
  compare(
    f"{name}, decoder",
    decoded,
    reference.decode(expected).sample.permute(0, 2, 3, 1),
    1e-5,
  )


def taef2_in_torch(weights: dict, half: str, x: torch.Tensor) -> torch.Tensor:
  """TAEF2 read off its weights: the names say what each layer is."""
  functional = torch.nn.functional
  last = max(int(name.split(".")[0]) for name in weights)
  if half == "decoder":
    x = 3 * torch.tanh(x / 3)
  for i in range(last + 1):
    own = {
      name.split(".", 1)[1]: value.float()
      for name, value in weights.items()
      if name.startswith(f"{i}.")
    }
    if "conv.0.weight" in own:
      if "pool.0.weight" in own:
        wide = functional.conv2d(x, own["pool.0.weight"])
        wide = functional.group_norm(
          wide, 4, own["pool.1.weight"], own["pool.1.bias"]
        )
        x = x + functional.conv2d(wide.relu(), own["pool.3.weight"])
      hidden = x
      for j in (0, 2, 4):
        weight, bias = own[f"conv.{j}.weight"], own[f"conv.{j}.bias"]
        hidden = functional.conv2d(
          hidden.relu() if j else hidden, weight, bias, padding=1
        )
      x = (x + hidden).relu()
    elif own:
      bias = own.get("bias")
      if half == "decoder" and bias is None:
        x = functional.interpolate(x, scale_factor=2)
      stride = 2 if half == "encoder" and bias is None else 1
      x = functional.conv2d(x, own["weight"], bias, stride, padding=1)
      if half == "decoder" and i == 1:
        x = x.relu()
  return x


def test_taef2_on_a_real_face(assets, compare):
  import dataclasses

  config = dataclasses.replace(TAESD, latent_channels=32, pooled_blocks=True)
  vae = TinyAutoencoder(config)
  shapes = shapes_of(vae)
  params, weights = {}, {}
  for half in ("encoder", "decoder"):
    path = assets / "models" / f"taef2_{half}.pth"
    matches = match(taesd_keys.half_table(shapes, half), open_tensors(path))
    params |= nested((m.entry.path, m.read()) for m in matches)
    weights[half] = torch.load(path, weights_only=True)
  frame = next(read_frames(assets / "faces" / "face_02.mp4")).image
  assert frame.shape == (512, 512, 3)
  image = to_float(jnp.asarray(frame[None]))
  latents = taef2_in_torch(
    weights["encoder"], "encoder", nchw(np.asarray(image + 1) / 2)
  )
  decoded = taef2_in_torch(weights["decoder"], "decoder", latents)
  expected = 2 * decoded.permute(0, 2, 3, 1) - 1
  encode = jax.jit(lambda v, x: vae.apply(v, x, method="encode")[0])
  compare(
    "TAEF2 encoder, real 512 px face",
    encode({"params": params}, image),
    latents.permute(0, 2, 3, 1),
    1e-5,
  )
  ours = jax.jit(vae.apply)({"params": params}, image)
  compare("TAEF2 round trip, real 512 px face", ours, expected, 1e-5)
  assert float(psnr(to_uint8(ours), jnp.asarray(frame[None]))[0]) > 37
