"""Our networks and diffusers', side by side in one process.

  python -m benchmarks.compare_diffusers [--rounds 5] [--case NAME …]

Random weights, the same on both sides; outputs are compared before anything
is timed. On a CPU both compute in float32 and PyTorch runs eagerly; on a GPU
both compute in bfloat16 and PyTorch is compiled (`torch.compile`). Rounds
alternate between the two, so that a disturbance hits both; the ratio is that
of the medians. Compilation is timed apart. MFU is the share of the device's
dense bfloat16 peak, with the FLOPs that XLA counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from diffmvr_jax.config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from diffmvr_jax.models.clip import ClipVision
from diffmvr_jax.models.unet import UNet
from diffmvr_jax.models.vae import Autoencoder
from diffmvr_jax.runtime.cpu_memory import keep_memory
from diffmvr_jax.runtime.device_peaks import peak_tflops
from diffmvr_jax.weights import clip_keys, diffusers_keys
from tests.parity.reference import params_of


@dataclass(frozen=True, kw_only=True)
class Case:
  """One comparison; both sides return arrays in our layout.

  Attributes:
    name: of the table's row.
    ours: a function of `arguments`, to be jitted.
    arguments: parameters and inputs.
    theirs: runs PyTorch's side.
    agree: what to compare of the two outputs.
    reuse: our last argument is the last result, whose memory is written over,
      as a train step's donated state is.
  """

  name: str
  ours: Callable[..., Any]
  arguments: tuple[Any, ...]
  theirs: Callable[[], Any]
  agree: Callable[[Any, Any], float]
  reuse: bool = False


def relative(ours: Any, theirs: torch.Tensor) -> float:
  """Relative L2 distance of two outputs."""
  one = np.asarray(ours, np.float64)
  other = theirs.detach().double().cpu().numpy()
  return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def relative_image(ours: Any, theirs: torch.Tensor) -> float:
  """The same, where PyTorch's output has its channels second."""
  return relative(ours, theirs.permute(0, 2, 3, 1))


def main() -> None:
  """Runs the cases and prints a Markdown table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--case", nargs="*", default=[])
  arguments = parser.parse_args()
  keep_memory()
  print(conditions(arguments.rounds))
  print(
    "\n| case | ours, ms | diffusers, ms | ratio | relative L2 "
    "| our compilation, s | theirs, s | our TFLOP/s | MFU |"
  )
  print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
  for build in (unet_forward, unet_gradient, vae_encode, vae_decode, clip):
    if not arguments.case or build.__name__ in arguments.case:
      print(measure(build(), arguments.rounds), flush=True)


def conditions(rounds: int) -> str:
  """Device, versions and rounds, in a line."""
  device = jax.devices()[0]
  kind = "float32" if on_cpu() else "bfloat16, torch.compile"
  return (
    f"{device.device_kind}, {torch.get_num_threads()} PyTorch threads, {kind}; "
    f"jax {jax.__version__}, torch {torch.__version__}, diffusers "
    f"{diffusers.__version__}, transformers {transformers.__version__}; "
    f"{rounds} alternating rounds, medians"
  )


def on_cpu() -> bool:
  """Whether JAX computes on a CPU."""
  return jax.default_backend() == "cpu"


def measure(case: Case, rounds: int) -> str:
  """Compiles, compares, times; returns the table's row."""
  started = time.perf_counter()
  last = len(case.arguments) - 1
  program = jax.jit(
    case.ours, donate_argnums=(last,) if case.reuse else (), keep_unused=True
  )
  program = program.lower(*case.arguments).compile()
  ours_compiled = time.perf_counter() - started
  started = time.perf_counter()
  reference = case.theirs()
  synchronize()
  theirs_compiled = time.perf_counter() - started
  arguments = list(case.arguments)

  def ours() -> Any:
    result = jax.block_until_ready(program(*arguments))
    if case.reuse:
      arguments[last] = result
    return result

  distance = case.agree(ours(), reference)
  assert distance < (1e-3 if on_cpu() else 3e-2), (case.name, distance)
  del reference
  times: tuple[list[float], list[float]] = ([], [])
  for _ in range(rounds + 1):
    for run, taken in zip((ours, case.theirs), times, strict=True):
      started = time.perf_counter()
      run()
      synchronize()
      taken.append(time.perf_counter() - started)
  our_time, their_time = (statistics.median(taken[1:]) for taken in times)
  analysis = program.cost_analysis() or {}
  rate = analysis.get("flops", 0.0) / our_time
  peak = peak_tflops(jax.devices()[0].device_kind)
  share = f"{rate / peak / 1e10:.0f} %" if peak else ""
  return (
    f"| {case.name} | {1e3 * our_time:.1f} | {1e3 * their_time:.1f} | "
    f"{our_time / their_time:.2f} | {distance:.0e} | {ours_compiled:.0f} | "
    f"{'' if on_cpu() else f'{theirs_compiled:.0f}'} | {rate / 1e12:.2f} | "
    f"{share} |"
  )


def synchronize() -> None:
  """Waits for PyTorch's device."""
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def place(module: torch.nn.Module) -> tuple[torch.nn.Module, dict, Any]:
  """The module on its device, its weights on the CPU, and our dtype."""
  weights = {k: v.clone() for k, v in module.state_dict().items()}
  if on_cpu():
    return module.eval(), weights, jnp.float32
  module = module.to("cuda", torch.bfloat16).eval()
  return module, weights, jnp.bfloat16


def fast(function: Callable) -> Callable:
  """Compiled by PyTorch where that is what its users would run."""
  return function if on_cpu() else torch.compile(function)


def tensor(array: np.ndarray, *, image: bool = False) -> torch.Tensor:
  """An input on PyTorch's device, channels second if it is an image."""
  result = torch.from_numpy(array)
  if image:
    result = result.permute(0, 3, 1, 2).contiguous()
  return result if on_cpu() else result.to("cuda", torch.bfloat16)


def normal(*shape: int) -> np.ndarray:
  """Unit noise, the same every time."""
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def unet(size: int) -> Iterator[Any]:
  """The inpainting U-Net of SD 1.5, both sides, and inputs for `size` px."""
  torch.manual_seed(0)
  module, weights, dtype = place(
    diffusers.UNet2DConditionModel(
      in_channels=9,
      block_out_channels=(320, 640, 1280, 1280),
      cross_attention_dim=768,
      attention_head_dim=8,
    )
  )
  config = UNetConfig(branches=("text",), alpha=(1.0,))
  network = UNet(config, dtype)
  sample, text = normal(1, size // 8, size // 8, 9), normal(1, 77, 768)
  inputs = (sample, np.array([500], np.int32), {"text": text})
  valid = {"text": np.ones(1, np.float32)}
  shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs, valid)
  params = params_of(diffusers_keys.unet(shapes["params"]), weights)

  def apply(params: Any, inputs: Any) -> jax.Array:
    return network.apply({"params": params}, *inputs, valid)

  arguments = (params, jax.tree.map(jnp.asarray, inputs))
  theirs = (tensor(sample, image=True), torch.tensor([500]), tensor(text))
  if not on_cpu():
    theirs = (theirs[0], theirs[1].cuda(), theirs[2])
  return iter((module, apply, arguments, theirs))


def unet_forward() -> Case:
  """One denoising step at 512 px."""
  module, apply, arguments, inputs = unet(512)
  run = fast(lambda *x: module(*x).sample)

  @torch.no_grad()
  def theirs() -> torch.Tensor:
    return run(*inputs)

  return Case(
    name="U-Net forward, 512 px",
    ours=apply,
    arguments=arguments,
    theirs=theirs,
    agree=relative_image,
  )


def unet_gradient() -> Case:
  """Forward and backward, gradients of every parameter, at 256 px."""
  module, apply, arguments, inputs = unet(256)
  run = fast(lambda *x: module(*x).sample.square().mean())

  def ours(params: Any, inputs: Any, previous: Any) -> Any:
    del previous  # its memory is what the gradients are written to
    return jax.grad(lambda p: jnp.square(apply(p, inputs)).mean())(params)

  def theirs() -> torch.Tensor:
    module.zero_grad(set_to_none=True)
    run(*inputs).backward()
    weight = module.conv_in.weight.grad
    assert weight is not None
    return weight

  return Case(
    name="U-Net forward and backward, 256 px",
    ours=ours,
    arguments=(*arguments, jax.tree.map(jnp.zeros_like, arguments[0])),
    theirs=theirs,
    agree=lambda ours, theirs: relative(
      ours["conv_in"]["kernel"], theirs.permute(2, 3, 1, 0)
    ),
    reuse=True,
  )


def vae(method: str, inputs: np.ndarray) -> tuple[Any, ...]:
  """SD's autoencoder, both sides."""
  torch.manual_seed(0)
  module, weights, dtype = place(
    diffusers.AutoencoderKL(
      block_out_channels=(128, 256, 512, 512),
      down_block_types=["DownEncoderBlock2D"] * 4,
      up_block_types=["UpDecoderBlock2D"] * 4,
      layers_per_block=2,
    )
  )
  network = Autoencoder(AutoencoderConfig(), dtype)
  shapes = jax.eval_shape(
    network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
  )
  params = params_of(diffusers_keys.autoencoder(shapes["params"]), weights)

  def apply(params: Any, inputs: Any) -> Any:
    return network.apply({"params": params}, inputs, method=method)

  return module, apply, (params, jnp.asarray(inputs))


def vae_encode() -> Case:
  """Image to latents at 512 px."""
  image = np.tanh(normal(1, 512, 512, 3))
  module, apply, arguments = vae("encode", image)
  pixels = tensor(image, image=True)
  run = fast(lambda x: module.encode(x).latent_dist.mean)

  @torch.no_grad()
  def theirs() -> torch.Tensor:
    return run(pixels)

  return Case(
    name="VAE encode, 512 px",
    ours=lambda *x: apply(*x)[0],
    arguments=arguments,
    theirs=theirs,
    agree=relative_image,
  )


def vae_decode() -> Case:
  """Latents to image at 512 px."""
  latents = normal(1, 64, 64, 4)
  module, apply, arguments = vae("decode", latents)
  inputs = tensor(latents, image=True)
  run = fast(lambda x: module.decode(x).sample)

  @torch.no_grad()
  def theirs() -> torch.Tensor:
    return run(inputs)

  return Case(
    name="VAE decode, 512 px",
    ours=apply,
    arguments=arguments,
    theirs=theirs,
    agree=relative_image,
  )


def clip() -> Case:
  """Guidance images, one per branch, through CLIP ViT-L/14."""
  torch.manual_seed(0)
  module, weights, dtype = place(
    transformers.CLIPVisionModelWithProjection(
      transformers.CLIPVisionConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        patch_size=14,
        projection_dim=768,
      )
    )
  )
  network, image = ClipVision(ClipVisionConfig(), dtype), normal(2, 224, 224, 3)
  shapes = jax.eval_shape(network.init, jax.random.key(0), image)
  params = params_of(clip_keys.vision(shapes["params"]), weights)
  pixels = tensor(image, image=True)
  run = fast(lambda x: module(x).image_embeds)

  @torch.no_grad()
  def theirs() -> torch.Tensor:
    return run(pixels)

  return Case(
    name="CLIP image encode, 2 images",
    ours=lambda params, x: network.apply({"params": params}, x)[1],
    arguments=(params, jnp.asarray(image)),
    theirs=theirs,
    agree=relative,
  )


if __name__ == "__main__":
  main()
